#include "hw/facts.h"

#include "base/buffer.h"
#include "base/fail.h"
#include "base/hash.h"
#include "base/json.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void add(pare_hw *hw, pare_hw_fact fact)
{
    if (hw->status != PARE_OK)
        return;
    hw->status = pare_grow(&hw->facts, &hw->capacity, hw->count + 1, sizeof *hw->facts,
                           "facts about the machine");
    if (hw->status == PARE_OK)
        hw->facts[hw->count++] = fact;
}

/* Whatever the system says is made fit for one line and for JSON. */
static const char *copy(pare_hw *hw, const char *text)
{
    char *owned = pare_arena_copy(&hw->text, text, strlen(text));
    if (!owned) {
        hw->status = PARE_OUT_OF_MEMORY;
        return "";
    }
    for (char *c = owned; *c; c++)
        if ((unsigned char)*c < 32 || (unsigned char)*c > 126)
            *c = '?';
    return owned;
}

void pare_hw_add_number(pare_hw *hw, const char *key, const char *label, double number,
                        const char *shown)
{
    char text[32];
    snprintf(text, sizeof text, "%.17g", number);
    const char *owned = copy(hw, text);
    add(hw, (pare_hw_fact){.key = key,
                           .label = label,
                           .text = owned,
                           .shown = shown ? copy(hw, shown) : owned,
                           .is_number = true,
                           .number = number});
}

void pare_hw_add_bytes(pare_hw *hw, const char *key, const char *label, double bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    char shown[48];
    int unit = 0;
    double scaled = bytes;
    for (; scaled >= 1024 && unit < 4; unit++)
        scaled /= 1024;
    snprintf(shown, sizeof shown, scaled == floor(scaled) ? "%.0f %s" : "%.1f %s", scaled,
             units[unit]);
    pare_hw_add_number(hw, key, label, bytes, shown);
}

void pare_hw_add_text(pare_hw *hw, const char *key, const char *label, const char *format, ...)
{
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    const char *owned = copy(hw, text);
    add(hw,
        (pare_hw_fact){.key = key, .label = label, .text = owned, .shown = owned, .number = NAN});
}

void pare_hw_add_absent(pare_hw *hw, const char *key, const char *label, const char *format, ...)
{
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    add(hw, (pare_hw_fact){.key = key, .label = label, .absent = copy(hw, text), .number = NAN});
}

bool pare_hw_read_line(const char *path, char *line, size_t size)
{
    FILE *file = fopen(path, "re");
    if (!file)
        return false;
    bool read = fgets(line, (int)size, file) != NULL;
    fclose(file);
    if (read)
        line[strcspn(line, "\n")] = 0;
    return read;
}

static pare_status make_fingerprint(pare_hw *hw)
{
    /* Nothing that a reboot, an update or another user changes. Memory counts in whole GiB: the
     * kernel's share varies. */
    static const char *const stable[] = {"cpu_name", "cpu_family", "cpu_features", "sockets",
                                         "cores",    "threads",    "l1d_bytes",    "l2_bytes",
                                         "l3_bytes", "numa_nodes", "hypervisor"};
    char hex[65];
    pare_sha256 hash;
    pare_status status = pare_sha256_begin(&hash);
    for (size_t i = 0; status == PARE_OK && i < sizeof stable / sizeof *stable; i++) {
        const pare_hw_fact *fact = pare_hw_find(hw, stable[i]);
        const char *text = fact && fact->text ? fact->text : "-";
        status = pare_sha256_add(&hash, text, strlen(text) + 1);
    }
    const pare_hw_fact *memory = pare_hw_find(hw, "memory_bytes");
    char gib[24];
    snprintf(gib, sizeof gib, "%.0f",
             memory && memory->is_number ? round(memory->number / (1 << 30)) : 0);
    if (status == PARE_OK)
        status = pare_sha256_add(&hash, gib, strlen(gib) + 1);
    /* Only where there is one: machines without keep the fingerprint that they had. */
    const pare_hw_fact *gpu = pare_hw_find(hw, "gpu_name"), *gpus = pare_hw_find(hw, "gpu_count");
    if (status == PARE_OK && gpu && gpu->text)
        status = pare_sha256_add(&hash, gpu->text, strlen(gpu->text) + 1);
    if (status == PARE_OK && gpus && gpus->text)
        status = pare_sha256_add(&hash, gpus->text, strlen(gpus->text) + 1);
    if (status == PARE_OK)
        status = pare_sha256_end(&hash, hex);
    if (status == PARE_OK)
        snprintf(hw->fingerprint, sizeof hw->fingerprint, "%.16s", hex);
    return status;
}

pare_status pare_hw_probe(pare_hw **out)
{
    pare_hw *hw;
    *out = NULL;
    pare_status status = pare_allocate(1, sizeof *hw, "facts about the machine", &hw);
    if (status != PARE_OK)
        return status;
    pare_hw_add_cpu(hw);
    pare_hw_add_topology(hw);
    pare_hw_add_clocks(hw);
    pare_hw_add_gpus(hw);
    pare_hw_add_system(hw);
    status = hw->status;
    if (status == PARE_OK)
        status = make_fingerprint(hw);
    if (status != PARE_OK) {
        pare_hw_free(hw);
        return status;
    }
    *out = hw;
    return PARE_OK;
}

void pare_hw_free(pare_hw *hw)
{
    if (!hw)
        return;
    pare_arena_free(&hw->text);
    free(hw->facts);
    free(hw);
}

size_t pare_hw_count(const pare_hw *hw)
{
    return hw->count;
}

const pare_hw_fact *pare_hw_get(const pare_hw *hw, size_t i)
{
    return &hw->facts[i];
}

const pare_hw_fact *pare_hw_find(const pare_hw *hw, const char *key)
{
    for (size_t i = 0; i < hw->count; i++)
        if (strcmp(hw->facts[i].key, key) == 0)
            return &hw->facts[i];
    return NULL;
}

const char *pare_hw_fingerprint(const pare_hw *hw)
{
    return hw->fingerprint;
}

char *pare_hw_to_json(const pare_hw *hw)
{
    json_t *object = json_object(), *absent = json_object();
    int failed = json_object_set_new(object, "fingerprint", json_string(hw->fingerprint));
    for (size_t i = 0; i < hw->count; i++) {
        const pare_hw_fact *fact = &hw->facts[i];
        json_t *value = fact->absent       ? json_null()
                        : !fact->is_number ? json_string(fact->text)
                        : fact->number == (double)(json_int_t)fact->number
                            ? json_integer((json_int_t)fact->number)
                            : json_real(fact->number);
        failed |= json_object_set_new(object, fact->key, value);
        if (fact->absent)
            failed |= json_object_set_new(absent, fact->key, json_string(fact->absent));
    }
    failed |= json_object_set(object, "absent", absent);
    char *text = failed ? NULL : json_dumps(object, JSON_COMPACT);
    json_decref(absent);
    json_decref(object);
    return text;
}
