#ifndef PARE_BASE_HASH_H
#define PARE_BASE_HASH_H

#include <pare/error.h>
#include <stddef.h>

/* SHA-256 (OpenSSL). hex: 64 digits and NUL. */
typedef struct pare_sha256 {
    void *context;
} pare_sha256;

pare_status pare_sha256_begin(pare_sha256 *hash);
pare_status pare_sha256_add(pare_sha256 *hash, const void *data, size_t size);
pare_status pare_sha256_end(pare_sha256 *hash,
                            char hex[65]); /* frees; hex may be NULL to abandon */

#endif
