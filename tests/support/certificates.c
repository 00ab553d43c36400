#include "support/test.h"

#include "support/certificates.h"
#include "support/folder.h"

#include <stdio.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

const char *certificate_path(const char *folder, const char *file)
{
    char name[128];
    snprintf(name, sizeof(name), "%s.pem", file);
    return folder_path(folder, name);
}

static void add_extension(X509 *certificate, int kind, const char *text)
{
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, certificate, certificate, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, kind, text);
    assert_non_null(extension);
    assert_int_equal(X509_add_ext(certificate, extension, -1), 1);
    X509_EXTENSION_free(extension);
}

static void add_name(X509_NAME *name, const char *text, size_t bytes)
{
    assert_int_equal(X509_NAME_add_entry_by_NID(name, NID_commonName, MBSTRING_UTF8,
                                                (const unsigned char *)text, (int)bytes, -1, 0),
                     1);
}

static void sign(const char *folder, const char *authority, X509 *certificate, EVP_PKEY *own)
{
    X509 *signer = certificate;
    EVP_PKEY *key = own;
    if (authority) {
        FILE *file = fopen(certificate_path(folder, authority), "re");
        assert_non_null(file);
        signer = PEM_read_X509(file, NULL, NULL, NULL);
        key = PEM_read_PrivateKey(file, NULL, NULL, NULL);
        fclose(file);
        assert_true(signer && key);
    }
    assert_int_equal(X509_set_issuer_name(certificate, X509_get_subject_name(signer)), 1);
    assert_true(X509_sign(certificate, key, EVP_sha256()) > 0);
    if (authority) {
        X509_free(signer);
        EVP_PKEY_free(key);
    }
}

void certificate_make(const char *folder, const char *file_name,
                      const struct certificate_wish *wish)
{
    static long serial;
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = X509_new();
    assert_true(key && certificate);
    X509_set_version(certificate, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), ++serial);
    X509_gmtime_adj(X509_getm_notBefore(certificate), -7200);
    X509_gmtime_adj(X509_getm_notAfter(certificate), wish->seconds ? wish->seconds : 86400);
    X509_set_pubkey(certificate, key);
    X509_NAME *name = X509_get_subject_name(certificate);
    if (wish->name)
        add_name(name, wish->name, wish->name_bytes ? wish->name_bytes : strlen(wish->name));
    if (wish->other_name)
        add_name(name, wish->other_name, strlen(wish->other_name));
    if (!wish->authority)
        add_extension(certificate, NID_basic_constraints, "critical,CA:TRUE");
    if (wish->address) {
        char text[128];
        snprintf(text, sizeof(text), "IP:%s", wish->address);
        add_extension(certificate, NID_subject_alt_name, text);
    }
    sign(folder, wish->authority, certificate, key);
    FILE *file = fopen(certificate_path(folder, file_name), "we");
    assert_non_null(file);
    assert_int_equal(PEM_write_X509(file, certificate), 1);
    assert_int_equal(PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL), 1);
    assert_int_equal(fclose(file), 0);
    X509_free(certificate);
    EVP_PKEY_free(key);
}
