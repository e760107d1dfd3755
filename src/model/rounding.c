/* The names of what is done to activations. */
#include "model/decoder.h"

#include <string.h>

static const char *const names[PARE_INPUTS_COUNT] = {
#define X(name, text, what) text,
    PARE_INPUTS_LIST(X)
#undef X
};

const char *pare_input_rounding_name(pare_input_rounding rounding)
{
    return names[rounding];
}

bool pare_input_rounding_travels(pare_input_rounding rounding)
{
    return rounding != PARE_INPUTS_STATIC_INT8 && rounding != PARE_INPUTS_STATIC_FP8 &&
           rounding != PARE_INPUTS_GROUP_FP8;
}

pare_input_rounding pare_input_rounding_from_name(const char *name, size_t length)
{
    int i = 0;
    while (i < PARE_INPUTS_COUNT &&
           (strlen(names[i]) != length || memcmp(names[i], name, length) != 0))
        i++;
    return (pare_input_rounding)i;
}
