#!/bin/sh
#
# Makes the certificates that tests of TLS need, with openssl(1): certificates.sh DIR
#
#   ca.pem                      who is believed
#   server.pem                  of localhost and 127.0.0.1
#   elsewhere.pem               of a server with another name
#   orders.pem, billing.pem     clients, by their common names
#   late.pem                    a client whose certificate has expired
#   late-server.pem             a server whose certificate has expired
#   other-ca.pem, stranger.pem  a client "orders" of somebody else's authority
#
# Each .pem but the authorities' has its key behind it. Keys of elliptic curves, for they are made in
# no time; none of them is worth anything.
set -eu
umask 077
mkdir -p "$1"
cd "$1"

# authority NAME
authority() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -sha256 -days 3650 \
        -subj "/CN=Parley's tests: $1" -addext "basicConstraints=critical,CA:TRUE" \
        -addext "keyUsage=critical,keyCertSign,cRLSign" -keyout "$1.key" -out "$1.pem" 2>/dev/null
}

long='-days 3650'
# What has expired: -days -1; but OpenSSL 3.5 wants an end behind its beginning, and can be told both.
past='-days -1'
if openssl x509 -help 2>&1 | grep -q -e -not_before; then
    past='-not_before 20200101000000Z -not_after 20200102000000Z'
fi

# certificate FILE AUTHORITY COMMON-NAME VALIDITY USE [NAMES]
certificate() {
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -sha256 -subj "/CN=$3" \
        -keyout "$1.key" -out "$1.csr" 2>/dev/null
    {
        echo "basicConstraints=CA:FALSE"
        echo "extendedKeyUsage=$5"
        [ -z "${6:-}" ] || echo "subjectAltName=$6"
    } >"$1.ext"
    # shellcheck disable=SC2086 # words
    openssl x509 -req -in "$1.csr" -CA "$2.pem" -CAkey "$2.key" -CAcreateserial -sha256 $4 \
        -extfile "$1.ext" -out "$1.pem" 2>/dev/null
    cat "$1.key" >>"$1.pem"
    rm "$1.key" "$1.csr" "$1.ext"
}

authority ca
authority other-ca
certificate server ca localhost "$long" serverAuth DNS:localhost,IP:127.0.0.1
certificate elsewhere ca elsewhere.invalid "$long" serverAuth DNS:elsewhere.invalid
certificate late-server ca localhost "$past" serverAuth DNS:localhost,IP:127.0.0.1
certificate orders ca orders "$long" clientAuth
certificate billing ca billing "$long" clientAuth
certificate late ca orders "$past" clientAuth
certificate stranger other-ca orders "$long" clientAuth
rm ./*.key ./*.srl
