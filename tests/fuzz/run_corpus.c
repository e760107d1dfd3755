/* Runs a fuzz target on every file of the folders that are given: what was found once stays found.
 */
#include "fuzz.h"

#include "base/file.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

static int run_file(const char *path)
{
    char *data;
    size_t size;
    if (pare_read_file(path, 64 << 20, &data, &size) != PARE_OK) {
        fprintf(stderr, "%s\n", pare_error_message());
        return -1;
    }
    uint8_t *exact =
        malloc(size ? size : 1); /* without the NUL, so that ASan sees a read past the end */
    for (size_t i = 0; i < size; i++)
        exact[i] = (uint8_t)data[i];
    free(data);
    LLVMFuzzerTestOneInput(exact, size);
    free(exact);
    return 1;
}

int main(int argc, char **argv)
{
    int files = 0;
    for (int i = 1; i < argc; i++) {
        DIR *folder = opendir(argv[i]);
        struct dirent *entry;
        if (!folder) {
            perror(argv[i]);
            return 1;
        }
        while ((entry = readdir(folder))) {
            char *path;
            if (entry->d_name[0] == '.' || pare_path_join(argv[i], entry->d_name, &path) != PARE_OK)
                continue;
            int ran = run_file(path);
            free(path);
            if (ran < 0)
                return 1;
            files += ran;
        }
        closedir(folder);
    }
    printf("%d inputs\n", files);
    return files ? 0 : 1;
}
