/* What MODEL may be: a folder, a file, a name in the hub's cache. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "formats/locate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char root[] = "/tmp/pare-locate-XXXXXX";

static const char *at(const char *path)
{
    static char full[4][512];
    static int next;
    char *to = full[next++ % 4];
    snprintf(to, sizeof full[0], "%s/%s", root, path);
    return to;
}

static void touch(const char *path, const char *text)
{
    FILE *file = fopen(at(path), "wb");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static int make_tree(void **state)
{
    if (!mkdtemp(root))
        return -1;
    static const char *const folders[] = {"model",
                                          "sharded",
                                          "empty",
                                          "gguf",
                                          "two",
                                          "hub",
                                          "hub/models--org--name",
                                          "hub/models--org--name/refs",
                                          "hub/models--org--name/snapshots",
                                          "hub/models--org--name/snapshots/abc",
                                          "hub/models--gpt2",
                                          "hub/models--gpt2/refs"};
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
        mkdir(at(folders[i]), 0700);
    touch("model/model.safetensors", ""), touch("model/config.json", ""),
        touch("model/tokenizer.json", "");
    touch("sharded/model.safetensors.index.json", "");
    touch("gguf/a.gguf", ""), touch("two/a.gguf", ""), touch("two/b.gguf", "");
    touch("plain", "GGUF"), touch("text.txt", "hello");
    touch("hub/models--org--name/refs/main", "abc\n"),
        touch("hub/models--gpt2/refs/main", "../../x");
    touch("hub/models--org--name/snapshots/abc/model.safetensors", "");
    return setenv("HF_HUB_CACHE", at("hub"), 1);
}

static int remove_tree(void **state)
{
    char command[64];
    snprintf(command, sizeof command, "rm -r %s", root);
    return system(command);
}

static void files_and_folders(void **state)
{
    pare_location location;
    assert_int_equal(pare_locate(at("model"), &location), PARE_OK);
    assert_int_equal(location.kind, PARE_LOCATION_FOLDER);
    assert_string_equal(location.weights, at("model/model.safetensors"));
    assert_string_equal(location.config, at("model/config.json"));
    assert_string_equal(location.tokenizer, at("model/tokenizer.json"));
    pare_location_free(&location);
    assert_int_equal(pare_locate(at("model/model.safetensors"), &location), PARE_OK);
    assert_int_equal(location.kind, PARE_LOCATION_SAFETENSORS);
    assert_string_equal(location.config, at("model/config.json"));
    pare_location_free(&location);
    assert_int_equal(pare_locate(at("sharded"), &location), PARE_OK);
    assert_string_equal(location.weights, at("sharded/model.safetensors.index.json"));
    assert_null(location.config);
    pare_location_free(&location);
    assert_int_equal(pare_locate(at("empty"), &location), PARE_OK);
    assert_null(location.weights);
    pare_location_free(&location);
    assert_int_equal(pare_locate(at("gguf"), &location), PARE_OK);
    assert_string_equal(location.weights, at("gguf/a.gguf"));
    pare_location_free(&location);
    assert_int_equal(pare_locate(at("plain"), &location), PARE_OK); /* by its first bytes */
    assert_int_equal(location.kind, PARE_LOCATION_GGUF);
    pare_location_free(&location);
    assert_int_equal(pare_locate(at("two"), &location), PARE_INVALID_ARGUMENT);
    assert_null(location.path);
    assert_int_equal(pare_locate(at("text.txt"), &location), PARE_INVALID_ARGUMENT);
    assert_int_equal(pare_locate(at("none.gguf"), &location), PARE_NOT_FOUND);
}

static void hub(void **state)
{
    pare_location location;
    assert_int_equal(pare_locate("org/name", &location), PARE_OK);
    assert_string_equal(location.path, at("hub/models--org--name/snapshots/abc"));
    assert_string_equal(location.weights,
                        at("hub/models--org--name/snapshots/abc/model.safetensors"));
    pare_location_free(&location);
    assert_int_equal(pare_locate("org/other", &location), PARE_NOT_FOUND);
    assert_non_null(strstr(pare_error_message(), at("hub")));
    assert_int_equal(pare_locate("gpt2", &location),
                     PARE_FORMAT); /* a commit that leads out of the cache */
    assert_int_equal(pare_locate("../hub", &location), PARE_NOT_FOUND);
    assert_int_equal(pare_locate("", &location), PARE_NOT_FOUND);
    assert_int_equal(pare_locate("a/b/c", &location), PARE_NOT_FOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(files_and_folders), cmocka_unit_test(hub)};
    return cmocka_run_group_tests(tests, make_tree, remove_tree);
}
