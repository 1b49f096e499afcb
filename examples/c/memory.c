/* Opens a checkpoint from bytes in memory, decodes on two threads, with a loop of its own, and provokes every status that a program
 * can. DIFFULEX_PANIC and DIFFULEX_POISONED need a defect of the library; tests of the library provoke those.
 *
 *     memory DIRECTORY       a small SDAR checkpoint in f32, such as tests/golden/sdar-f32
 */
#include <diffulex.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define CHECK(condition) ((condition) ? (void)0 : fail(__LINE__, #condition))
#define EXPECT(call, expected) expect(__LINE__, (call), (expected))

static diffulex_error error;

static void fail(int line, const char *what) {
    fprintf(stderr, "memory.c:%d: %s\n", line, what);
    exit(1);
}

/* The call ended as it should, and says why if it failed. */
static void expect(int line, diffulex_status found, diffulex_status expected) {
    if (found != expected || error.status != expected || (error.message[0] != '\0') != (expected != DIFFULEX_OK)) {
        fprintf(stderr, "memory.c:%d: %s expected, found %s: %s\n", line, diffulex_status_name(expected), diffulex_status_name(found),
                error.message);
        exit(1);
    }
}

static char *read_file(const char *directory, const char *name, size_t *length) {
    char path[4096];
    FILE *file;
    long size;
    char *bytes;

    snprintf(path, sizeof path, "%s/%s", directory, name);
    file = fopen(path, "rb");
    if (file == NULL || fseek(file, 0, SEEK_END) != 0 || (size = ftell(file)) <= 0 || fseek(file, 0, SEEK_SET) != 0) {
        fail(__LINE__, path);
        return NULL;
    }
    bytes = malloc((size_t)size);
    if (bytes == NULL || fread(bytes, 1, (size_t)size, file) != (size_t)size) {
        fail(__LINE__, path);
    }
    fclose(file);
    *length = (size_t)size;
    return bytes;
}

static const uint32_t prompt[] = {159, 189, 224, 95, 202, 125, 79, 251, 134, 236};
enum { PROMPT = sizeof prompt / sizeof *prompt, NEW = 16 };

static diffulex_request greedy(void) {
    static const uint32_t none = 0;
    diffulex_request request;

    DIFFULEX_INIT(&request);
    request.prompt = prompt;
    request.prompt_len = PROMPT;
    request.max_new = NEW;
    request.policy = "sdar-dynamic temperature=0 threshold=0.2";
    request.stop = &none; /* with length 0: nothing ends the text */
    return request;
}

/* ---- Two threads, each with a session of one engine ---- */

struct thread {
    diffulex_engine *engine;
    uint32_t tokens[NEW];
};

static void *run_thread(void *user_data) {
    struct thread *thread = user_data;
    diffulex_session *session = NULL;
    diffulex_request request = greedy();
    diffulex_generation generation;

    DIFFULEX_INIT(&generation);
    /* No diffulex_error: that of this file is not for two threads. */
    CHECK(diffulex_session_new(thread->engine, &session, NULL) == DIFFULEX_OK);
    CHECK(diffulex_generate(session, &request, NULL, NULL, &generation, NULL) == DIFFULEX_OK);
    CHECK(generation.tokens_len == NEW && generation.new_tokens == NEW);
    memcpy(thread->tokens, generation.tokens, sizeof thread->tokens);
    diffulex_session_free(session);
    return NULL;
}

static void two_threads(diffulex_engine *engine, uint32_t tokens[NEW]) {
    struct thread threads[2];
    pthread_t ids[2];
    int i;

    for (i = 0; i < 2; i++) {
        threads[i].engine = engine;
        CHECK(pthread_create(&ids[i], NULL, run_thread, &threads[i]) == 0);
    }
    for (i = 0; i < 2; i++) {
        CHECK(pthread_join(ids[i], NULL) == 0);
    }
    CHECK(memcmp(threads[0].tokens, threads[1].tokens, sizeof threads[0].tokens) == 0);
    memcpy(tokens, threads[0].tokens, sizeof threads[0].tokens);
}

/* ---- Callbacks ---- */

/* Calls the session that is calling it, which is refused; then ends the generation. */
static int call_back(const diffulex_event *event, void *user_data) {
    diffulex_session *session = user_data;
    diffulex_request request = greedy();
    size_t committed;

    CHECK(event->struct_size >= sizeof *event && event->prompt_len == PROMPT);
    EXPECT(diffulex_generate(session, &request, NULL, NULL, NULL, &error), DIFFULEX_BUSY);
    EXPECT(diffulex_committed(session, &committed, &error), DIFFULEX_BUSY);
    return event->kind == DIFFULEX_EVENT_REVEALED;
}

/* Frees the session that is calling it, once, and its engine with it. */
struct both {
    diffulex_engine *engine;
    diffulex_session *session;
};

static int free_both(const diffulex_event *event, void *user_data) {
    struct both *both = user_data;

    (void)event;
    diffulex_session_free(both->session);
    diffulex_engine_free(both->engine);
    both->session = NULL;
    both->engine = NULL;
    return 0;
}

/* ---- A loop of one's own: the likeliest token of every mask, all at once ---- */

static void own_loop(diffulex_engine *engine, const diffulex_info *info) {
    uint32_t ids[PROMPT + 2];
    size_t rows[2] = {PROMPT, PROMPT + 1}, committed = 9, i;
    float *logits = malloc(2 * info->vocab * sizeof *logits);
    diffulex_session *session = NULL;

    CHECK(logits != NULL && info->mask >= 0 && info->alignment == DIFFULEX_ROW_OWN);
    memcpy(ids, prompt, sizeof prompt);
    ids[PROMPT] = ids[PROMPT + 1] = (uint32_t)info->mask;
    EXPECT(diffulex_session_new(engine, &session, &error), DIFFULEX_OK);
    EXPECT(diffulex_logits(session, rows, 2, logits, 2 * info->vocab, &error), DIFFULEX_ARGUMENT); /* no pass yet */
    EXPECT(diffulex_forward(session, ids, PROMPT + 2, 0, DIFFULEX_VISIBLE_RULE, &error), DIFFULEX_OK);
    EXPECT(diffulex_logits(session, rows, 2, logits, 2 * info->vocab, &error), DIFFULEX_OK);
    EXPECT(diffulex_logits(session, rows, 2, logits, info->vocab, &error), DIFFULEX_ARGUMENT);
    EXPECT(diffulex_commit(session, PROMPT + 3, &error), DIFFULEX_ARGUMENT);
    EXPECT(diffulex_commit(session, 8, &error), DIFFULEX_OK);
    EXPECT(diffulex_forward(session, ids, 4, 0, DIFFULEX_VISIBLE_RULE, &error), DIFFULEX_ARGUMENT); /* committed */
    for (i = 0; i < 2; i++) {
        const float *row = logits + i * info->vocab;
        uint32_t id, best = 0;
        for (id = 1; id < info->vocab; id++) {
            if (row[id] > row[best]) {
                best = id;
            }
        }
        ids[PROMPT + i] = best;
    }
    EXPECT(diffulex_forward(session, ids + 8, 4, 8, DIFFULEX_VISIBLE_ALL, &error), DIFFULEX_OK);
    EXPECT(diffulex_forward(session, ids + 8, 4, 8, 2, &error), DIFFULEX_ARGUMENT);
    EXPECT(diffulex_commit(session, 4, &error), DIFFULEX_OK);
    EXPECT(diffulex_rewind(session, 13, &error), DIFFULEX_ARGUMENT);
    EXPECT(diffulex_rewind(session, 8, &error), DIFFULEX_OK);
    EXPECT(diffulex_committed(session, &committed, &error), DIFFULEX_OK);
    CHECK(committed == 8);
    ids[0] = (uint32_t)info->vocab;
    EXPECT(diffulex_forward(session, ids, 1, 8, DIFFULEX_VISIBLE_RULE, &error), DIFFULEX_TOKEN);
    diffulex_session_free(session);
    free(logits);
}

/* ---- Wrong input ---- */

static void wrong_requests(diffulex_engine *engine, const diffulex_info *info) {
    diffulex_session *session = NULL;
    diffulex_request request;
    diffulex_generation generation;
    uint32_t unknown = 1000000;
    uint32_t gap[64] = {0}; /* a mask, and known text after its block */

    EXPECT(diffulex_session_new(engine, &session, &error), DIFFULEX_OK);
    DIFFULEX_INIT(&generation);
    request = greedy();
    request.max_new = 1000000;
    EXPECT(diffulex_generate(session, &request, NULL, NULL, &generation, &error), DIFFULEX_CAPACITY);
    CHECK(generation.tokens == NULL && generation.struct_size == sizeof generation);
    request = greedy();
    request.prompt = &unknown;
    request.prompt_len = 1;
    EXPECT(diffulex_generate(session, &request, NULL, NULL, &generation, &error), DIFFULEX_TOKEN);
    request = greedy();
    request.policy = "sdar-dynamic threshold=2";
    EXPECT(diffulex_generate(session, &request, NULL, NULL, &generation, &error), DIFFULEX_OPTION);
    request.policy = "heat=1";
    EXPECT(diffulex_generate(session, &request, NULL, NULL, &generation, &error), DIFFULEX_OPTION);
    request.policy = "\xff";
    EXPECT(diffulex_generate(session, &request, NULL, NULL, &generation, &error), DIFFULEX_ARGUMENT);
    request = greedy();
    gap[0] = (uint32_t)info->mask;
    request.prompt = gap;
    request.prompt_len = sizeof gap / sizeof *gap;
    EXPECT(diffulex_generate(session, &request, NULL, NULL, &generation, &error), DIFFULEX_UNSUPPORTED);
    request = greedy();
    request.prompt = NULL;
    EXPECT(diffulex_generate(session, &request, NULL, NULL, &generation, &error), DIFFULEX_ARGUMENT);
    request = greedy();
    request.struct_size = 1;
    EXPECT(diffulex_generate(session, &request, NULL, NULL, &generation, &error), DIFFULEX_ARGUMENT);
    EXPECT(diffulex_generate(session, NULL, NULL, NULL, &generation, &error), DIFFULEX_ARGUMENT);
    EXPECT(diffulex_generate(NULL, &request, NULL, NULL, NULL, &error), DIFFULEX_ARGUMENT);
    diffulex_session_free(session);
}

static void wrong_files(const char *directory, const diffulex_files *files) {
    static const char *const levels[] = {"avx3", NULL};
    diffulex_engine *engine = (diffulex_engine *)&error; /* anything but NULL */
    diffulex_files wrong = *files;
    diffulex_options options;
    size_t i;

    EXPECT(diffulex_engine_open(NULL, NULL, &engine, &error), DIFFULEX_ARGUMENT);
    CHECK(engine == NULL);
    EXPECT(diffulex_engine_open(directory, NULL, NULL, &error), DIFFULEX_ARGUMENT);
    EXPECT(diffulex_engine_open("no/such/directory", NULL, &engine, &error), DIFFULEX_IO);
    EXPECT(diffulex_engine_open_memory(NULL, NULL, &engine, &error), DIFFULEX_ARGUMENT);
    for (i = 0; i < 2; i++) {
        DIFFULEX_INIT(&options);
        options.level = levels[i];
        options.threads = 5000;
        EXPECT(diffulex_engine_open(directory, &options, &engine, &error), DIFFULEX_OPTION);
    }
    options.threads = 0;
    options.quantize = "int3";
    EXPECT(diffulex_engine_open(directory, &options, &engine, &error), DIFFULEX_OPTION);
    options.quantize = NULL;
    options.storage = "tape";
    EXPECT(diffulex_engine_open(directory, &options, &engine, &error), DIFFULEX_OPTION);
    wrong.weights_len -= 1;
    EXPECT(diffulex_engine_open_memory(&wrong, NULL, &engine, &error), DIFFULEX_FORMAT);
    wrong.weights = NULL;
    EXPECT(diffulex_engine_open_memory(&wrong, NULL, &engine, &error), DIFFULEX_ARGUMENT);
    wrong = *files;
    wrong.config = "{\"model_type\": \"gpt2\"}";
    wrong.config_len = strlen(wrong.config);
    EXPECT(diffulex_engine_open_memory(&wrong, NULL, &engine, &error), DIFFULEX_UNSUPPORTED);
    wrong.config = "[1, 2";
    wrong.config_len = strlen(wrong.config);
    EXPECT(diffulex_engine_open_memory(&wrong, NULL, &engine, &error), DIFFULEX_FORMAT);
}

/* NaN for every weight: the last bytes of the file belong to one. */
static void not_finite(const diffulex_files *files) {
    char *weights = malloc(files->weights_len);
    diffulex_files broken = *files;
    diffulex_engine *engine = NULL;
    diffulex_session *session = NULL;
    diffulex_request request = greedy();
    size_t i, header = 0;

    CHECK(weights != NULL);
    memcpy(weights, files->weights, files->weights_len);
    for (i = 0; i < 8; i++) {
        header |= (size_t)(unsigned char)weights[i] << (8 * i);
    }
    memset(weights + 8 + header, 0xff, files->weights_len - 8 - header);
    broken.weights = weights;
    broken.borrow = 0;
    EXPECT(diffulex_engine_open_memory(&broken, NULL, &engine, &error), DIFFULEX_OK);
    free(weights); /* copied */
    EXPECT(diffulex_session_new(engine, &session, &error), DIFFULEX_OK);
    EXPECT(diffulex_generate(session, &request, NULL, NULL, NULL, &error), DIFFULEX_NOT_FINITE);
    diffulex_engine_free(engine);
    diffulex_session_free(session);
}

int main(int argc, char **argv) {
    diffulex_files files;
    diffulex_options options;
    diffulex_info info;
    diffulex_engine *engine = NULL;
    diffulex_session *session = NULL;
    diffulex_generation generation;
    diffulex_request request = greedy();
    struct both both;
    char *config, *weights;
    uint32_t tokens[NEW];
    size_t i;

    if (argc != 2) {
        fprintf(stderr, "usage: memory DIRECTORY\n");
        return 2;
    }
    DIFFULEX_INIT(&files);
    files.config = config = read_file(argv[1], "config.json", &files.config_len);
    files.weights = weights = read_file(argv[1], "model.safetensors", &files.weights_len);
    files.borrow = 1;
    DIFFULEX_INIT(&options);
    options.threads = 2;
    options.context = 256;
    options.kv = "f32";
    EXPECT(diffulex_engine_open_memory(&files, &options, &engine, &error), DIFFULEX_OK);
    DIFFULEX_INIT(&info);
    EXPECT(diffulex_engine_info(engine, &info, &error), DIFFULEX_OK);
    EXPECT(diffulex_engine_info(NULL, &info, &error), DIFFULEX_ARGUMENT);
    CHECK(info.threads == 2 && info.context == 256 && strcmp(info.kv, "f32") == 0 && info.block == 4);

    two_threads(engine, tokens);
    own_loop(engine, &info);
    wrong_requests(engine, &info);
    wrong_files(argv[1], &files);
    not_finite(&files);

    EXPECT(diffulex_session_new(engine, &session, &error), DIFFULEX_OK);
    DIFFULEX_INIT(&generation);
    EXPECT(diffulex_generate(session, &request, call_back, session, &generation, &error), DIFFULEX_OK);
    CHECK(generation.stop_reason == DIFFULEX_STOP_CANCELLED);
    EXPECT(diffulex_generate(session, &request, NULL, NULL, &generation, &error), DIFFULEX_OK);
    CHECK(generation.tokens_len == NEW && memcmp(generation.tokens, tokens, sizeof tokens) == 0);

    /* The engine goes before its session, and both inside of a callback. */
    both.engine = engine;
    both.session = session;
    EXPECT(diffulex_generate(session, &request, free_both, &both, NULL, &error), DIFFULEX_OK);
    diffulex_engine_free(NULL);
    diffulex_session_free(NULL);
    free(weights); /* borrowed until here */
    free(config);
    for (i = 0; i < NEW; i++) {
        printf("%s%lu", i == 0 ? "" : " ", (unsigned long)tokens[i]);
    }
    printf("\n");
    return 0;
}
