/* Every fuzz target defines this one function; libFuzzer or run_corpus.c calls it. */
#ifndef PARE_TESTS_FUZZ_H
#define PARE_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Reads every byte, so that AddressSanitizer sees those that are not there. */
static inline void fuzz_read(const void *data, size_t size)
{
    unsigned sum = 0;
    for (size_t i = 0; i < size; i++)
        sum += ((const uint8_t *)data)[i];
    __asm__ volatile("" : : "r"(sum)); /* keeps the loop */
}

#endif
