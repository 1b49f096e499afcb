/*
 * diffulex: SIMD inference for diffusion language models on ordinary CPUs.
 *
 * Two ways in: a model takes and gives text (diffulex_model_open, diffulex_ask), an engine takes and gives token ids
 * (diffulex_engine_open, diffulex_generate). A library that was built without `text` has no dependencies and only the second.
 *
 * Ownership  What a function ending in _open, _open_memory, _engine or _new hands out is freed with the _free function of its
 *            type. A session keeps its engine alive, so both may be freed in any order. Every other pointer that the library hands out
 *            is borrowed; its comment says for how long. The library keeps no pointer of the caller's after a call, with the
 *            one exception of diffulex_files.borrow.
 * Errors     A call that can fail returns a diffulex_status and, if `error` is not NULL, writes the status and a message to
 *            the caller's diffulex_error. There is no "last error" of a thread or a process: nothing is shared, nothing is
 *            allocated, nothing has to be freed, and the message cannot be overwritten by a call elsewhere. NULL where an
 *            argument is needed is a status, not a crash. A call that fails leaves its session usable, unless the status
 *            is DIFFULEX_PANIC.
 * Threads    An engine or a model may be used by any number of threads at once. A session serves one call at a time: a second one, from
 *            another thread or from inside a callback, is refused with DIFFULEX_BUSY. Results do not depend on threads.
 *            A handle must not be freed while another thread makes a call with it; inside its own callback it may be.
 * Structs    Structs that the caller fills begin with struct_size. Zero the whole struct and set it (DIFFULEX_INIT does both):
 *            zero means the default everywhere. Later versions add members at the end only. A shorter struct of an older
 *            program is taken as it is; a longer one of a newer program is taken if what this library does not know is zero.
 * Panics     A defect of the library is caught at the boundary and reported as DIFFULEX_PANIC (its message also goes to
 *            stderr); the session it happened in answers DIFFULEX_POISONED from then on and can only be freed. A library that
 *            was built with panic=abort ends the process instead. Memory that grows with a model or a request is requested first
 *            (DIFFULEX_MEMORY); where the system promises more than it has, it still ends a process that uses it.
 * Strings    are UTF-8 and end with NUL, paths on every system included. Numbers in strings have a decimal point.
 */
#ifndef DIFFULEX_H
#define DIFFULEX_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Goes up with every change that a compiled program would notice; the library's soname ends with it. */
#define DIFFULEX_ABI_VERSION 0

/* Zeroes a struct of this interface and sets its struct_size: DIFFULEX_INIT(&options). */
#define DIFFULEX_INIT(pointer) (memset((pointer), 0, sizeof *(pointer)), (void)((pointer)->struct_size = sizeof *(pointer)))

/* ---- Errors ---- */

typedef int32_t diffulex_status;
enum {
    DIFFULEX_OK = 0,
    DIFFULEX_IO = 1,          /* the system refused to open, read or map a file */
    DIFFULEX_FORMAT = 2,      /* a file or buffer is malformed, or does not fit the model's config */
    DIFFULEX_UNSUPPORTED = 3, /* the input requires what this library does not do */
    DIFFULEX_OPTION = 4,      /* an option is unknown or out of range */
    DIFFULEX_CAPACITY = 5,    /* more positions than the context holds */
    DIFFULEX_TOKEN = 6,       /* a token id outside the vocabulary */
    DIFFULEX_NOT_FINITE = 7,  /* the model computed NaN or infinity; the message says in which layer */
    DIFFULEX_ARGUMENT = 8,    /* NULL, a wrong length, not UTF-8, or a call out of order */
    DIFFULEX_BUSY = 9,        /* the session serves another call */
    DIFFULEX_POISONED = 10,   /* an earlier call with this session ended with DIFFULEX_PANIC */
    DIFFULEX_PANIC = 11,      /* a defect of the library; please report the message */
    DIFFULEX_MEMORY = 12      /* the system does not have enough memory; nothing was computed */
};

/* Where a failing call leaves its message, cut to fit. A call that succeeds sets it to DIFFULEX_OK and "". */
typedef struct diffulex_error {
    diffulex_status status;
    char message[1020];
} diffulex_error;

/* ---- Opening a model ---- */

/* How to open a model. All zero but struct_size is the default. */
typedef struct diffulex_options {
    size_t struct_size;
    const char *level;       /* "scalar", "avx2", "avx512", "amx", "neon"; NULL: DIFFULEX_LEVEL if set, else the best */
    const char *activations; /* "auto", "f32", "bf16", "int8"; NULL: "auto" */
    const char *kv;          /* keys and values: "f16", or "f32" (exact); NULL: "f16" */
    const char *storage;     /* weights: "map", "read"; NULL: "map". Maps only if the library was built with `mmap` */
    const char *quantize;    /* "int4", "int8", "int4:128", "int8:row", ..; NULL: as the weights are stored */
    size_t threads;          /* at most 1024; 0: one for each physical core */
    size_t context;          /* positions that a session holds; 0: 4096, or what the model was made for */
    const uint32_t *mask;    /* the mask id; NULL: what config.json says */
    const uint32_t *stop;    /* ids that end the text; NULL: what the checkpoint says */
    size_t stop_len;         /* 0 with stop not NULL: none */
    size_t token_limit;      /* ids from here on are never produced (the tokenizer's size); 0: the vocabulary */
} diffulex_options;

/* A checkpoint in memory. NULL with length 0 where there is none. */
typedef struct diffulex_files {
    size_t struct_size;
    const void *config; /* bytes of config.json */
    size_t config_len;
    const void *generation_config; /* bytes of generation_config.json; may be absent */
    size_t generation_config_len;
    const void *weights; /* bytes of one safetensors file */
    size_t weights_len;
    /* 0: weights are copied. 1: they are used where they are, and must stay, unchanged, until the engine and all its sessions
     * are freed. Neither JSON string is needed after the call. */
    int32_t borrow;
} diffulex_files;

/* A loaded model: weights, kernels, threads. */
typedef struct diffulex_engine diffulex_engine;

/* Opens a checkpoint: a directory, a .safetensors file, or an index file, with config.json next to it. `options` may be NULL.
 * *engine is NULL if the call fails. */
diffulex_status diffulex_engine_open(const char *path, const diffulex_options *options, diffulex_engine **engine, diffulex_error *error);

/* The same from memory. options->storage has no meaning here. */
diffulex_status diffulex_engine_open_memory(const diffulex_files *files, const diffulex_options *options, diffulex_engine **engine,
                                            diffulex_error *error);

/* Frees an engine, or the caller's share of it while sessions use it. NULL is fine. */
void diffulex_engine_free(diffulex_engine *engine);

enum { DIFFULEX_ROW_OWN = 0, DIFFULEX_ROW_BEFORE = 1, DIFFULEX_ROW_SEEDED = 2 };

/* What was opened. Pointers are valid until the engine is freed. */
typedef struct diffulex_info {
    size_t struct_size;
    const char *family;      /* "SDAR", "Fast-dLLM v2", "Dream", "LLaDA" */
    const char *policy;      /* name of the policy that the model was published with */
    const char *level;       /* instructions in use */
    const char *activations; /* what "auto" came to */
    const char *kv;
    const char *weights; /* format of the block matrices */
    size_t vocab;        /* logits in a row */
    size_t context;      /* positions that a session holds */
    size_t threads;
    size_t block; /* positions in a block of a block-causal model; 0: the model is bidirectional */
    size_t layers;
    size_t parameters;
    size_t weight_bytes;
    int64_t mask; /* -1: none was named */
    const uint32_t *stop;
    size_t stop_len;
    int32_t alignment; /* logits for position i are in row i (DIFFULEX_ROW_OWN) or i - 1 (DIFFULEX_ROW_BEFORE); DIFFULEX_ROW_SEEDED: row i, but for the first position of a block, which the last
                          row of the causal pass before it predicts */
} diffulex_info;

/* Fills *info, whose struct_size the caller has set. */
diffulex_status diffulex_engine_info(const diffulex_engine *engine, diffulex_info *info, diffulex_error *error);

/* ---- Generating ---- */

/* One sequence with its keys and values, `context` positions allocated once. What a block-causal model computed stays for the
 * next call, so a prompt that begins as the last one did (a chat) is not computed again. */
typedef struct diffulex_session diffulex_session;

/* *session is NULL if the call fails. */
diffulex_status diffulex_session_new(const diffulex_engine *engine, diffulex_session **session, diffulex_error *error);

/* Frees a session, and the arrays of its generations with it. Inside a callback of the session itself, it goes when the call that
 * runs it returns. NULL is fine. */
void diffulex_session_free(diffulex_session *session);

/* What to generate. */
typedef struct diffulex_request {
    size_t struct_size;
    const uint32_t *prompt; /* masks in it are filled in */
    size_t prompt_len;
    size_t max_new; /* positions after the prompt; 0 is allowed if the prompt holds masks */
    /* How to decode: the name of a published policy, and changes to it, separated by spaces: "sdar-static",
     * "sdar-dynamic threshold=0.9 steps=2", "temperature=0.7 top-p=0.9". Keys and values are those of diffulex-run's options
     * (docs/decoding.md), without the dashes in front. NULL or "": generation_config.json and the model's own policy. */
    const char *policy;
    const uint32_t *stop; /* NULL: the engine's */
    size_t stop_len;      /* 0 with stop not NULL: none */
    uint64_t seed;        /* of every random number */
    size_t padding;       /* positions at the start of the prompt that may not be attended to */
} diffulex_request;

/* A masked position and the token for it. */
typedef struct diffulex_token {
    size_t position;
    double score; /* how sure the model is, by the policy's measure; higher is surer */
    uint32_t id;
} diffulex_token;

typedef int32_t diffulex_event_kind;
enum {
    DIFFULEX_EVENT_PASS = 0,     /* a forward pass begins */
    DIFFULEX_EVENT_REVEALED = 1, /* masks became tokens */
    DIFFULEX_EVENT_BLOCK = 2     /* a block is finished: its tokens never change */
};

typedef int32_t diffulex_pass_kind;
enum { DIFFULEX_PASS_PREFILL = 0, DIFFULEX_PASS_DENOISE = 1, DIFFULEX_PASS_COMMIT = 2 };

/* Something that happened. Everything in it is valid until the callback returns. Members that an event has no use for are 0. */
typedef struct diffulex_event {
    size_t struct_size; /* set by the library */
    diffulex_event_kind kind;
    diffulex_pass_kind pass; /* PASS: why */
    size_t pass_index;       /* PASS: how many were made before */
    size_t begin;            /* PASS: positions that are computed; BLOCK: its positions */
    size_t end;              /* one past the last */
    size_t cached;           /* PASS: positions whose keys and values come from the cache */
    const uint32_t *canvas;  /* the whole sequence, prompt included */
    size_t canvas_len;
    size_t prompt_len;
    const diffulex_token *tokens; /* REVEALED: what was revealed, then tokens that replaced others */
    size_t tokens_len;
    const diffulex_token *candidates; /* REVEALED: all that was drawn in this step, what stays masked included */
    size_t candidates_len;
    uint32_t mask; /* the mask id */
} diffulex_event;

/* Called for every event. Returns 0 to continue, anything else to end the generation with what there is. It must return: no C++
 * exception and no longjmp may leave it. */
typedef int (*diffulex_callback)(const diffulex_event *event, void *user_data);

enum {
    DIFFULEX_STOP_LENGTH = 0,
    DIFFULEX_STOP_TOKEN = 1,
    DIFFULEX_STOP_CANCELLED = 2,
    DIFFULEX_STOP_STRING = 3 /* one of diffulex_question.stop; only diffulex_ask knows strings */
};

/* A finished generation. The arrays belong to the session and are valid until its next diffulex_generate or its end. */
typedef struct diffulex_generation {
    size_t struct_size;
    const uint32_t *tokens; /* new ones, up to the first stop id (without it) or the first position that is still masked */
    size_t tokens_len;
    const uint32_t *canvas; /* the whole sequence, prompt included; masks where nothing was generated */
    size_t canvas_len;
    size_t new_tokens;     /* tokens_len, and what was filled into the prompt */
    size_t nfe;            /* forward passes, prefill included */
    size_t prefill_passes; /* forward passes over the prompt */
    double prefill_seconds;
    double decode_seconds; /* everything else; time in the callback is not counted */
    const char *cache;     /* what was kept between steps; lives as long as the library */
    int32_t stop_reason;   /* DIFFULEX_STOP_* */
    uint32_t stop_id;      /* with DIFFULEX_STOP_TOKEN */
} diffulex_generation;

/* Generates. `callback` and `generation` may be NULL; generation->struct_size must be set, and all else in it is 0 if the call
 * fails. Wrong requests are refused before any work. */
diffulex_status diffulex_generate(diffulex_session *session, const diffulex_request *request, diffulex_callback callback, void *user_data,
                                  diffulex_generation *generation, diffulex_error *error);

/* ---- Text ---- */

/* An engine with the tokenizer, the chat template and the defaults of its checkpoint. It decodes as diffulex-run does. */
typedef struct diffulex_model diffulex_model;

/* Opens a checkpoint with the tokenizer and the chat template in its directory: path as diffulex_engine_open takes it. What the tokenizer
 * knows (its size, the mask) does not have to be in `options`. *model is NULL if the call fails; DIFFULEX_UNSUPPORTED if the
 * library was built without `text`. */
diffulex_status diffulex_model_open(const char *path, const diffulex_options *options, diffulex_model **model, diffulex_error *error);

/* Frees a model. Engines and sessions that came from it stay. NULL is fine. */
void diffulex_model_free(diffulex_model *model);

/* The engine of a model, for sessions, diffulex_engine_info, and ids: a handle of its own, which diffulex_engine_free frees. */
diffulex_status diffulex_model_engine(const diffulex_model *model, diffulex_engine **engine, diffulex_error *error);

/* Tokenizes a string, nothing added at its ends; `<mask:N>` in it is N masks. Writes at most `capacity` ids to `ids`, which may be
 * NULL if that is 0, and to *ids_len how many there are. `text_len` bytes, which may hold NUL. */
diffulex_status diffulex_encode(const diffulex_model *model, const char *text, size_t text_len, uint32_t *ids, size_t capacity,
                                size_t *ids_len, diffulex_error *error);

/* Decodes ids to a string; special tokens are left out if skip_special is not 0. Writes at most `capacity` bytes to `text`, which may be
 * NULL if that is 0, and to *text_len how many bytes there are. No NUL is added. */
diffulex_status diffulex_decode(const diffulex_model *model, const uint32_t *ids, size_t ids_len, int32_t skip_special, char *text,
                                size_t capacity, size_t *text_len, diffulex_error *error);

/* A turn of a conversation. Its content is text: control tokens and masks that are written in it have no effect. */
typedef struct diffulex_message {
    const char *role; /* "system", "user", "assistant", or what else the template knows */
    const char *content;
} diffulex_message;

/* What to answer: either `text` or `messages`. */
typedef struct diffulex_question {
    size_t struct_size;
    const char *text; /* a question, through the chat template if there is one; with `<mask:N>` in it, gaps to fill in */
    const diffulex_message *messages; /* a conversation, through the chat template */
    size_t messages_len;
    const char *policy;      /* as in diffulex_request */
    const char *const *stop; /* strings that end the text and are not part of it */
    size_t stop_len;
    size_t max_new; /* new tokens at most; 0: 128, or only what fills the gaps */
    uint64_t seed;
    int32_t raw; /* not 0: `text` is taken as it is, without the chat template */
    /* A constraint on the answer, at most one of them: JSON that a JSON schema allows, a match of a regular expression, or what a
     * grammar in Lark's syntax derives from `start`. The answer ends when it is complete. */
    const char *schema;
    const char *regex;
    const char *grammar;
} diffulex_question;

/* Called with text as it becomes final: `text_len` bytes, which never change again, and a NUL. Returns 0 to continue, anything else to
 * end the answer with what there is. As for diffulex_callback, it must return. */
typedef int (*diffulex_text_callback)(const char *text, size_t text_len, void *user_data);

/* A finished answer. The text belongs to the session and is valid until its next diffulex_ask or its end. */
typedef struct diffulex_answer {
    size_t struct_size;
    const char *text; /* all of it, ends with NUL; with the prompt around it if gaps were filled in */
    size_t text_len;  /* in bytes, without that NUL */
    size_t tokens;    /* new ones, up to the end of the text, after every stop */
    size_t nfe;       /* forward passes, prefill included */
    size_t prefill_passes;
    double prefill_seconds;
    double decode_seconds;
    int32_t stop_reason; /* DIFFULEX_STOP_* */
    uint32_t stop_id;    /* with DIFFULEX_STOP_TOKEN */
} diffulex_answer;

/* Answers a question in a session of the model's engine. `callback` and `answer` may be NULL; answer->struct_size must be set, and
 * all else in it is 0 if the call fails. */
diffulex_status diffulex_ask(const diffulex_model *model, diffulex_session *session, const diffulex_question *question,
                             diffulex_text_callback callback, void *user_data, diffulex_answer *answer, diffulex_error *error);

/* ---- For a decoding loop of one's own ---- */

typedef int32_t diffulex_visible;
enum {
    DIFFULEX_VISIBLE_RULE = 0, /* what the model's rule lets each position see: up to the end of its block, or everything */
    DIFFULEX_VISIBLE_ALL = 1   /* every position sees every position from 0 to the end of the pass */
};

/* One forward pass: computes `ids` at the positions from `first` on, and stages their keys and values (until they are committed,
 * the next pass may replace them). `first` is not below the committed positions and leaves no hole after those computed. */
diffulex_status diffulex_forward(diffulex_session *session, const uint32_t *ids, size_t ids_len, size_t first, diffulex_visible visible,
                                 diffulex_error *error);

/* Logits of some rows of the latest diffulex_forward: row i belongs to its i-th id, and predicts what diffulex_info.alignment
 * says. `logits` takes rows_len * vocab numbers, and logits_len must be that. */
diffulex_status diffulex_logits(diffulex_session *session, const size_t *rows, size_t rows_len, float *logits, size_t logits_len,
                                diffulex_error *error);

/* Declares the next `rows` staged positions final. */
diffulex_status diffulex_commit(diffulex_session *session, size_t rows, diffulex_error *error);

/* Forgets everything after the first `length` committed positions. */
diffulex_status diffulex_rewind(diffulex_session *session, size_t length, diffulex_error *error);

/* Writes how many positions are committed. */
diffulex_status diffulex_committed(diffulex_session *session, size_t *committed, diffulex_error *error);

/* ---- The library ---- */

/* The version of the library: "MAJOR.MINOR.PATCH". Lives as long as the library. */
const char *diffulex_version(void);

/* DIFFULEX_ABI_VERSION of the library that is linked; another number than the header's means that they do not fit. */
uint32_t diffulex_abi_version(void);

/* The name of a status, such as "DIFFULEX_IO"; of an unknown one, "DIFFULEX_UNKNOWN". Lives as long as the library. */
const char *diffulex_status_name(diffulex_status status);

#ifdef __cplusplus
}
#endif

#endif
