/* Generates from token ids and prints the new ones; what happens meanwhile goes to stderr, event by event.
 *
 *     generate DIRECTORY MAX_NEW POLICY ID..        POLICY is "" for the model's own
 */
#include <diffulex.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static int fail(const diffulex_error *error) {
    fprintf(stderr, "error: %s: %s\n", diffulex_status_name(error->status), error->message);
    return 2;
}

static int on_event(const diffulex_event *event, void *user_data) {
    static const char *const why[] = {"prefill", "denoise", "commit"};
    size_t *revealed = user_data;
    size_t i;

    switch (event->kind) {
    case DIFFULEX_EVENT_PASS:
        fprintf(stderr, "pass %zu (%s): positions %zu to %zu\n", event->pass_index, why[event->pass], event->begin, event->end);
        break;
    case DIFFULEX_EVENT_REVEALED:
        *revealed += event->tokens_len;
        for (i = 0; i < event->tokens_len; i++) {
            const diffulex_token *token = &event->tokens[i];
            fprintf(stderr, "  %zu: token %" PRIu32 " (score %.3f)\n", token->position, token->id, token->score);
        }
        break;
    case DIFFULEX_EVENT_BLOCK:
        fprintf(stderr, "positions %zu to %zu are final\n", event->begin, event->end);
        break;
    }
    return 0; /* go on */
}

/* A whole number of 32 bits, or an exit. */
static uint32_t number(const char *text) {
    char *end;
    unsigned long value = strtoul(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != '\0' || value > UINT32_MAX) {
        fprintf(stderr, "error: `%s` given, a whole number below 2^32 expected\n", text);
        exit(2);
    }
    return (uint32_t)value;
}

int main(int argc, char **argv) {
    diffulex_engine *engine = NULL;
    diffulex_session *session = NULL;
    diffulex_request request;
    diffulex_generation generation;
    diffulex_error error;
    uint32_t *prompt;
    size_t i, revealed = 0;

    if (argc < 5) {
        fprintf(stderr, "usage: generate DIRECTORY MAX_NEW POLICY ID..\n");
        return 2;
    }
    if (diffulex_abi_version() != DIFFULEX_ABI_VERSION) {
        fprintf(stderr, "error: the library is %s, with another ABI than this program's\n", diffulex_version());
        return 2;
    }
    prompt = malloc((size_t)(argc - 4) * sizeof *prompt);
    if (prompt == NULL) {
        fprintf(stderr, "error: no memory\n");
        return 2;
    }
    for (i = 4; i < (size_t)argc; i++) {
        prompt[i - 4] = number(argv[i]);
    }
    DIFFULEX_INIT(&request);
    request.prompt = prompt;
    request.prompt_len = (size_t)(argc - 4);
    request.max_new = number(argv[2]);
    request.policy = argv[3];
    DIFFULEX_INIT(&generation);

    error.status = DIFFULEX_OK;
    if (diffulex_engine_open(argv[1], NULL, &engine, &error) == DIFFULEX_OK &&
        diffulex_session_new(engine, &session, &error) == DIFFULEX_OK &&
        diffulex_generate(session, &request, on_event, &revealed, &generation, &error) == DIFFULEX_OK) {
        for (i = 0; i < generation.tokens_len; i++) {
            printf("%s%" PRIu32, i == 0 ? "" : " ", generation.tokens[i]);
        }
        printf("\n");
        fprintf(stderr, "%zu revealed in %zu forward passes, cache: %s\n", revealed, generation.nfe, generation.cache);
    }
    diffulex_session_free(session);
    diffulex_engine_free(engine);
    free(prompt);
    return error.status == DIFFULEX_OK ? 0 : fail(&error);
}
