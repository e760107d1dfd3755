#include "base/hash.h"

#include "base/fail.h"

#include <openssl/evp.h>
#include <stdio.h>

pare_status pare_sha256_begin(pare_sha256 *hash)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    hash->context = context;
    if (context && EVP_DigestInit_ex(context, EVP_sha256(), NULL) == 1)
        return PARE_OK;
    EVP_MD_CTX_free(context);
    hash->context = NULL;
    return pare_fail(PARE_INTERNAL, "SHA-256 could not be started");
}

pare_status pare_sha256_add(pare_sha256 *hash, const void *data, size_t size)
{
    if (size && EVP_DigestUpdate(hash->context, data, size) != 1)
        return pare_fail(PARE_INTERNAL, "SHA-256 failed");
    return PARE_OK;
}

pare_status pare_sha256_end(pare_sha256 *hash, char hex[65])
{
    unsigned char digest[32];
    int ok = !hex || EVP_DigestFinal_ex(hash->context, digest, NULL) == 1;
    EVP_MD_CTX_free(hash->context);
    hash->context = NULL;
    if (!ok)
        return pare_fail(PARE_INTERNAL, "SHA-256 failed");
    for (int i = 0; hex && i < 32; i++)
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    return PARE_OK;
}
