#include "quant/methods.h"

#include <pare/quant.h>

#include <string.h>

#include "base/buffer.h"
#include "base/fail.h"

static const pare_method *const methods[] = {&pare_method_rtn, &pare_method_gptq};
enum { METHOD_COUNT = sizeof methods / sizeof *methods };

const pare_method *pare_method_at(size_t index)
{
    return index < METHOD_COUNT ? methods[index] : NULL;
}

const char *pare_quantize_method_name(size_t index)
{
    return index < METHOD_COUNT ? methods[index]->name : NULL;
}

pare_status pare_method_find(const char *name, const pare_method **method)
{
    char list[256] = "";
    for (size_t i = 0; i < METHOD_COUNT; i++) {
        if (!name || strcmp(name, methods[i]->name) == 0) {
            *method = methods[i];
            return PARE_OK;
        }
        strncat(list, i ? ", " : "", sizeof list - strlen(list) - 1);
        strncat(list, methods[i]->name, sizeof list - strlen(list) - 1);
    }
    *method = NULL;
    return pare_fail(PARE_INVALID_ARGUMENT, "no method is called '%s'; there are: %s", name, list);
}
