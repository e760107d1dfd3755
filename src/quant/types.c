#include "quant/types.h"

#include "base/checked.h"

#include <string.h>
#include <strings.h>

static const pare_type_traits table[PARE_TYPE_COUNT] = {
#define X(name, text, gguf, elements, bytes) {text, gguf, elements, bytes, NULL, NULL},
    PARE_TYPE_LIST(X)
#undef X
};

const pare_type_traits *pare_type_get_traits(pare_type type)
{
    return &table[type];
}

const char *pare_type_name(pare_type type)
{
    return (unsigned)type < PARE_TYPE_COUNT ? table[type].name : "unknown";
}

pare_type pare_type_from_name(const char *name)
{
    for (int type = 0; type < PARE_TYPE_COUNT; type++)
        if (strcasecmp(name, table[type].name) == 0)
            return (pare_type)type;
    return PARE_TYPE_COUNT;
}

pare_type pare_type_from_gguf(uint32_t id)
{
    for (int type = 0; type < PARE_TYPE_COUNT; type++)
        if (table[type].gguf_id >= 0 && (uint32_t)table[type].gguf_id == id)
            return (pare_type)type;
    return PARE_TYPE_COUNT;
}

size_t pare_type_row_bytes(pare_type type, int64_t n)
{
    size_t bytes;
    if (n < 0 || (unsigned)type >= PARE_TYPE_COUNT)
        return 0;
    if (type == PARE_TYPE_I8_CH)
        return pare_add_size((size_t)n, 4, &bytes) ? bytes : 0;
    const pare_type_traits *traits = &table[type];
    if (n % traits->block != 0 ||
        !pare_mul_size((size_t)(n / traits->block), traits->block_bytes, &bytes))
        return 0;
    return bytes;
}

int64_t pare_type_block(pare_type type)
{
    return table[type].block ? table[type].block : 1;
}

bool pare_type_readable(pare_type type)
{
    return table[type].decode != NULL;
}

bool pare_type_writable(pare_type type)
{
    return table[type].encode != NULL;
}
