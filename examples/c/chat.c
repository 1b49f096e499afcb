/* Answers a question, text in and text out; the answer is printed as it becomes final.
 *
 *     chat DIRECTORY QUESTION [SYSTEM]
 */
#include <diffulex.h>
#include <stdio.h>

static int on_text(const char *text, size_t text_len, void *user_data) {
    (void)user_data;
    fwrite(text, 1, text_len, stdout);
    return fflush(stdout) != 0; /* nobody reads any more: enough */
}

int main(int argc, char **argv) {
    diffulex_model *model = NULL;
    diffulex_engine *engine = NULL;
    diffulex_session *session = NULL;
    diffulex_message messages[2];
    diffulex_question question;
    diffulex_answer answer;
    diffulex_error error = {0};

    if (argc < 3 || argc > 4) {
        fprintf(stderr, "usage: chat DIRECTORY QUESTION [SYSTEM]\n");
        return 2;
    }
    DIFFULEX_INIT(&question);
    DIFFULEX_INIT(&answer);
    if (argc == 4) {
        messages[0].role = "system";
        messages[0].content = argv[3];
        messages[1].role = "user";
        messages[1].content = argv[2];
        question.messages = messages;
        question.messages_len = 2;
    } else {
        question.text = argv[2];
    }
    if (diffulex_model_open(argv[1], NULL, &model, &error) == DIFFULEX_OK &&
        diffulex_model_engine(model, &engine, &error) == DIFFULEX_OK &&
        diffulex_session_new(engine, &session, &error) == DIFFULEX_OK &&
        diffulex_ask(model, session, &question, on_text, NULL, &answer, &error) == DIFFULEX_OK) {
        printf("\n");
        fprintf(stderr, "%zu tokens in %zu forward passes, %.3f s\n", answer.tokens, answer.nfe, answer.decode_seconds);
    } else {
        fprintf(stderr, "error: %s: %s\n", diffulex_status_name(error.status), error.message);
    }
    diffulex_session_free(session);
    diffulex_engine_free(engine);
    diffulex_model_free(model);
    return error.status == DIFFULEX_OK ? 0 : 2;
}
