/* How long a method with calibration takes on a model without a tokenizer (pare synth), on random
 * token ids: bench_quantize MODEL METHOD FORMAT SEQUENCES LENGTH OUT.gguf [DEVICE]. The progress is
 * printed as it comes: seconds so far, seconds since the line before, what was done. */
#include "base/clock.h"
#include "base/random.h"

#include <pare/model.h>
#include <pare/quant.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct telling {
    double start, last;
    char what[64];
} telling;

static bool tell(void *user, double done, double total, const char *what)
{
    telling *c = user;
    double now = pare_seconds();
    bool block = strncmp(what, "block", 5) == 0 || strcmp(what, c->what) != 0;
    if (block)
        printf("%8.3f %7.3f  %5.1f %%  %s\n", now - c->start, now - c->last,
               100 * done / (total > 0 ? total : 1), what);
    c->last = now;
    snprintf(c->what, sizeof c->what, "%s", what);
    return true;
}

int main(int argc, char **argv)
{
    pare_model *model;
    pare_quantize_result result = {0};
    telling c = {.start = pare_seconds()};
    pare_progress progress = {.update = tell, .user = &c};
    if (argc < 7) {
        fprintf(stderr, "bench_quantize MODEL METHOD FORMAT SEQUENCES LENGTH OUT.gguf [DEVICE]\n");
        return 2;
    }
    c.last = c.start;
    pare_calibration calibration = {
        .sequences = atoll(argv[4]), .length = atoll(argv[5]), .source = "random ids"};
    pare_status status = pare_model_open(argv[1], &model);
    if (status == PARE_OK) {
        const int64_t vocab = pare_model_get_info(model)->vocab;
        pare_random random = {1};
        calibration.count = (size_t)(calibration.sequences * calibration.length);
        int32_t *ids = malloc(calibration.count * sizeof *ids);
        for (size_t i = 0; ids && i < calibration.count; i++)
            ids[i] = (int32_t)pare_random_below(&random, (uint64_t)vocab);
        calibration.ids = ids;
        const pare_quantize_options options = {.type = pare_type_from_name(argv[3]),
                                               .method = argv[2],
                                               .calibration = &calibration,
                                               .output = argv[6],
                                               .device = argc > 7 ? argv[7] : NULL,
                                               .progress = &progress};
        status = pare_quantize(model, &options, &result);
        free(ids);
        pare_quantize_result_free(&result);
        pare_model_close(model);
    }
    if (status != PARE_OK) {
        fprintf(stderr, "%s\n", pare_error_message());
        return 1;
    }
    printf("%s %s, %lld x %lld tokens, %s: %.2f s\n", argv[2], argv[3],
           (long long)calibration.sequences, (long long)calibration.length,
           argc > 7 ? argv[7] : "cpu", pare_seconds() - c.start);
    return 0;
}
