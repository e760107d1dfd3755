/* Any text as a chat template, over a fixed conversation: it renders or fails with a message,
 * within its limits. */
#include "fuzz.h"

#include "text/template.h"

#include <stdlib.h>
#include <string.h>

#define CONVERSATION                                                                               \
    "{\"messages\": [{\"role\": \"system\", \"content\": \" Be brief. \"},"                        \
    "{\"role\": \"user\", \"content\": \"Wie gr\\u00fc\\u00dft man? \\ud83e\\udd17\"},"            \
    "{\"role\": \"assistant\", \"content\": null, \"tool_calls\": [{\"id\": \"abcdefghi\", "       \
    "\"type\": \"function\","                                                                      \
    "\"function\": {\"name\": \"f\", \"arguments\": {\"x\": 1.5, \"y\": [true, null, -3]}}}]},"    \
    "{\"role\": \"tool\", \"content\": \"a\\nb\\n\", \"tool_call_id\": \"abcdefghi\"}],"           \
    "\"tools\": null, \"documents\": null, \"add_generation_prompt\": true, \"bos_token\": "       \
    "\"<s>\","                                                                                     \
    "\"eos_token\": \"</s>\", \"n\": 9007199254740993, \"f\": -0.1, \"e\": \"\", \"d\": {\"1\": "  \
    "2, \"b\": {}}}"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const pare_template_limits limits = {
        .steps = 200000, .memory = 8 << 20, .output = 1 << 20};
    json_t *variables = json_loads(CONVERSATION, 0, NULL);
    char *source = malloc(size + 1), *text = NULL;
    if (!variables || !source)
        abort();
    if (size)
        memcpy(source, data, size);
    source[size] = 0;
    pare_status status = pare_template_render_within(&limits, source, "fuzz", variables, &text);
    if ((status == PARE_OK) != (text != NULL) || (status != PARE_OK && !*pare_error_message()))
        abort();
    free(text);
    free(source);
    json_decref(variables);
    return 0;
}
