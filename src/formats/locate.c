#include "formats/locate.h"

#include "base/buffer.h"
#include "base/fail.h"
#include "base/file.h"

#include <ctype.h>
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool has_suffix(const char *text, const char *suffix)
{
    size_t length = strlen(text), tail = strlen(suffix);
    return length >= tail && strcasecmp(text + length - tail, suffix) == 0;
}

/* "folder/name" where that is a file, NULL where not. */
static pare_status find_beside(const char *folder, const char *name, char **path)
{
    pare_status status = pare_path_join(folder, name, path);
    if (status == PARE_OK && !pare_is_file(*path)) {
        free(*path);
        *path = NULL;
    }
    return status;
}

/* The folder's only .gguf; several without a safetensors are an error, since none is more meant
 * than the other. */
static pare_status find_single_gguf(const char *folder, char **path)
{
    DIR *listing = opendir(folder);
    struct dirent *entry;
    pare_status status = PARE_OK;
    if (!listing)
        return pare_fail(PARE_IO, "%s: cannot be listed", folder);
    while (status == PARE_OK && (entry = readdir(listing)))
        if (has_suffix(entry->d_name, ".gguf")) {
            if (*path)
                status = pare_fail(PARE_INVALID_ARGUMENT,
                                   "%s: holds several .gguf files: name one of them", folder);
            else
                status = pare_path_join(folder, entry->d_name, path);
        }
    closedir(listing);
    return status;
}

static pare_status locate_in_folder(const char *folder, pare_location *location)
{
    pare_status status;
    location->kind = PARE_LOCATION_FOLDER;
    PARE_TRY(find_beside(folder, "model.safetensors", &location->weights));
    if (!location->weights)
        PARE_TRY(find_beside(folder, "model.safetensors.index.json", &location->weights));
    if (!location->weights)
        PARE_TRY(find_single_gguf(folder, &location->weights));
    PARE_TRY(find_beside(folder, "config.json", &location->config));
    PARE_TRY(find_beside(folder, "tokenizer.json", &location->tokenizer));
fail:
    return status;
}

static bool begins_with_gguf(const char *path)
{
    char magic[4] = {0};
    FILE *file = fopen(path, "rbe");
    if (!file)
        return false;
    size_t n = fread(magic, 1, sizeof magic, file);
    fclose(file);
    return n == sizeof magic && memcmp(magic, "GGUF", 4) == 0;
}

static pare_status locate_file(const char *path, pare_location *location)
{
    bool safetensors =
        has_suffix(path, ".safetensors") || has_suffix(path, ".safetensors.index.json");
    pare_status status = PARE_OK;
    if (!safetensors && !has_suffix(path, ".gguf") && !begins_with_gguf(path))
        return pare_fail(PARE_INVALID_ARGUMENT,
                         "%s: neither a folder nor a .gguf or .safetensors file", path);
    location->kind = safetensors ? PARE_LOCATION_SAFETENSORS : PARE_LOCATION_GGUF;
    location->weights = strdup(path);
    if (!location->weights)
        return pare_fail_memory(strlen(path) + 1, path);
    if (!safetensors)
        return PARE_OK;
    const char *slash = strrchr(path, '/');
    char *folder = slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup(".");
    if (!folder)
        return pare_fail_memory(strlen(path) + 1, path);
    PARE_TRY(find_beside(folder, "config.json", &location->config));
    PARE_TRY(find_beside(folder, "tokenizer.json", &location->tokenizer));
fail:
    free(folder);
    return status;
}

/* ---- the hub's cache ---- */

/* The folder that huggingface_hub uses: the first of its settings that is there. */
static pare_status cache_folder(char **path)
{
    static const struct {
        const char *variable, *tail;
    } settings[] = {{"HF_HUB_CACHE", ""},
                    {"HUGGINGFACE_HUB_CACHE", ""},
                    {"HF_HOME", "/hub"},
                    {"XDG_CACHE_HOME", "/huggingface/hub"},
                    {"HOME", "/.cache/huggingface/hub"}};
    pare_buffer buffer = {0};
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        const char *value = getenv(settings[i].variable);
        if (value && *value) {
            pare_buffer_printf(&buffer, "%s%s", value, settings[i].tail);
            break;
        }
    }
    if (!buffer.data)
        pare_buffer_text(&buffer, ".");
    *path = pare_buffer_take(&buffer);
    return *path ? PARE_OK : PARE_OUT_OF_MEMORY;
}

/* "repository" or "organization/repository", of letters, digits and "-_.". */
static bool is_hub_name(const char *name)
{
    int slashes = 0;
    if (!isalnum((unsigned char)name[0]))
        return false;
    for (const char *c = name; *c; c++) {
        if (*c == '/' && (slashes++ || !isalnum((unsigned char)c[1])))
            return false;
        if (!isalnum((unsigned char)*c) && !strchr("-_./", *c))
            return false;
    }
    return true;
}

/* CACHE/models--org--repository. */
static pare_status repository_folder(const char *cache, const char *name, char **path)
{
    const char *slash = strchr(name, '/');
    pare_buffer buffer = {0};
    if (slash)
        pare_buffer_printf(&buffer, "%s/models--%.*s--%s", cache, (int)(slash - name), name,
                           slash + 1);
    else
        pare_buffer_printf(&buffer, "%s/models--%s", cache, name);
    *path = pare_buffer_take(&buffer);
    return *path ? PARE_OK : PARE_OUT_OF_MEMORY;
}

/* Follows refs/main to the snapshot's folder. */
static pare_status snapshot_folder(const char *repository, char **path)
{
    char *reference = NULL, *commit = NULL;
    size_t size;
    pare_buffer buffer = {0};
    pare_status status;
    PARE_TRY(pare_path_join(repository, "refs/main", &reference));
    PARE_TRY(pare_read_file(reference, 4096, &commit, &size));
    while (size && isspace((unsigned char)commit[size - 1]))
        commit[--size] = 0;
    if (!size || commit[0] == '.' || strchr(commit, '/') || strlen(commit) != size) {
        status = pare_fail(PARE_FORMAT, "%s: does not hold a commit", reference);
        goto fail;
    }
    pare_buffer_printf(&buffer, "%s/snapshots/%s", repository, commit);
    *path = pare_buffer_take(&buffer);
    if (!*path)
        status = PARE_OUT_OF_MEMORY;
    else if (!pare_is_folder(*path))
        status =
            pare_fail(PARE_NOT_FOUND, "%s: snapshot %s is not in the cache", repository, commit);
fail:
    free(reference);
    free(commit);
    return status;
}

static pare_status locate_in_cache(const char *name, pare_location *location)
{
    char *cache = NULL, *repository = NULL;
    pare_status status;
    PARE_TRY(cache_folder(&cache));
    PARE_TRY(repository_folder(cache, name, &repository));
    if (!pare_is_folder(repository)) {
        status =
            pare_fail(PARE_NOT_FOUND, "%s: no such file or folder, and no %s in the hub's cache",
                      name, repository);
        goto fail;
    }
    PARE_TRY(snapshot_folder(repository, &location->path));
    PARE_TRY(locate_in_folder(location->path, location));
fail:
    free(cache);
    free(repository);
    return status;
}

pare_status pare_locate(const char *name, pare_location *location)
{
    pare_status status = PARE_OK;
    bool folder = pare_is_folder(name), file = pare_is_file(name);
    *location = (pare_location){0};
    if (folder || file) {
        location->path = strdup(name);
        if (!location->path)
            status = pare_fail_memory(strlen(name) + 1, name);
        else
            status = folder ? locate_in_folder(name, location) : locate_file(name, location);
    } else if (access(name, F_OK) == 0) {
        status = pare_fail(PARE_INVALID_ARGUMENT, "%s: neither a file nor a folder", name);
    } else if (is_hub_name(name) && !has_suffix(name, ".gguf") &&
               !has_suffix(name, ".safetensors")) {
        status = locate_in_cache(name, location);
    } else {
        status = pare_fail(PARE_NOT_FOUND, "%s: no such file or folder", name);
    }
    if (status != PARE_OK)
        pare_location_free(location);
    return status;
}

bool pare_location_is_gguf(const pare_location *location)
{
    return location->kind == PARE_LOCATION_GGUF || has_suffix(location->weights, ".gguf");
}

void pare_location_free(pare_location *location)
{
    free(location->path);
    free(location->weights);
    free(location->config);
    free(location->tokenizer);
    *location = (pare_location){0};
}
