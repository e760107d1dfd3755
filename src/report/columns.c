#include "report/columns.h"

#define FIELD(name) #name, offsetof(pare_overview_row, name)

const pare_column pare_columns[] = {
    {"size", "file", "bytes of the model file", FIELD(file_bytes), PARE_UNIT_BYTES, false, -1},
    {"bits", "per weight", "bits per weight over the quantized matrices, scales included",
     FIELD(bits_per_weight), PARE_UNIT_BITS, false, -1},
    {"memory", "peak", "peak resident memory of the process that ran it", FIELD(peak_rss_bytes),
     PARE_UNIT_BYTES, false, -1},
    {"saved", "vs FP16", "peak memory saved against the FP16 row", FIELD(memory_reduction),
     PARE_UNIT_CHANGE, false, 0},
    {"prefill", "tokens/s", "prompt processing, median with its 95 % interval",
     FIELD(prefill_tokens_per_s), PARE_UNIT_RATE, true, 1},
    {"decode", "tokens/s", "generation one token at a time, median with its 95 % interval",
     FIELD(decode_tokens_per_s), PARE_UNIT_RATE, true, 1},
    {"speed-up", "decode", "decode speed divided by the FP16 row's", FIELD(decode_speedup),
     PARE_UNIT_FACTOR, false, 1},
    {"perplexity", "", "exp of the mean loss per token", FIELD(perplexity), PARE_UNIT_PERPLEXITY,
     false, -1},
    {"ppl change", "vs FP16", "perplexity against the FP16 row, same tokens, paired 95 % interval",
     FIELD(quality_loss), PARE_UNIT_CHANGE, true, -1},
    {"KL div.", "nats", "mean KL divergence from the model as it was given, 95 % interval",
     FIELD(kld_mean), PARE_UNIT_NATS, true, -1},
    {"top-1", "agree", "share of positions where both models would choose the same token",
     FIELD(top1), PARE_UNIT_PERCENT, true, 1},
};
const int pare_column_count = sizeof pare_columns / sizeof *pare_columns;
