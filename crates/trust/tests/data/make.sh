#!/bin/sh
# Makes the certificates and keys in this directory again: kinds that testcerts does not make. OpenSSL 3.0.
# The keys are worth nothing. `make.sh` is run by hand; the tests read what it left.
set -e
cd "$(dirname "$0")"
ext() { printf 'subjectAltName=DNS:peer.example.org\nkeyUsage=digitalSignature\n'; }
ca() { openssl req -x509 -newkey "$2" ${3:+-pkeyopt "$3"} -nodes -keyout ca-$1.tmp -out ca-$1.pem -subj "/C=CH/CN=$1" -days 20000 \
    -set_serial 1 2>/dev/null; }
# leaf NAME KEY CA [options of the signature]
leaf() {
    name=$1 key=$2 ca=$3; shift 3
    openssl req -new -key "$key" -subj "/C=CH/CN=$name" -out leaf.tmp
    ext > ext.tmp
    openssl x509 -req -in leaf.tmp -CA ca-$ca.pem -CAkey ca-$ca.tmp -set_serial 7 -days 20000 -extfile ext.tmp -out $name.pem "$@" 2>/dev/null
}
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out peer.key
openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:1024 -out rsa1024.key 2>/dev/null
openssl genpkey -algorithm RSA-PSS -pkeyopt rsa_keygen_bits:2048 -pkeyopt rsa_pss_keygen_md:sha256 -pkeyopt rsa_pss_keygen_mgf1_md:sha256 \
    -pkeyopt rsa_pss_keygen_saltlen:32 -out pss-key.key 2>/dev/null
openssl genpkey -algorithm Ed448 -out ed448.key
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:brainpoolP256r1 -out brainpool.key
ca rsa rsa:2048
ca rsa1024 rsa:1024
ca ed448 ed448
ca ecdsa ec ec_paramgen_curve:P-384
ca brainpool ec ec_paramgen_curve:brainpoolP256r1
leaf plain peer.key rsa -sha256
leaf sha1-rsa peer.key rsa -sha1
leaf sha1-ecdsa peer.key ecdsa -sha1
leaf pss-signed peer.key rsa -sha256 -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:-1
leaf weak-ca peer.key rsa1024 -sha256
leaf rsa1024 rsa1024.key rsa -sha256
leaf pss-key pss-key.key rsa -sha256
leaf ed448 ed448.key ed448
leaf brainpool brainpool.key brainpool -sha256
leaf below-brainpool peer.key brainpool -sha256
# A signature over what the tests prove, with a salt that is not as long as the hash.
printf 'IKE_SA_INIT message, nonce, prf(SK_p, ID)' | openssl dgst -sha256 -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:40 \
    -sign pss-key.key -out pss-key.signature
# Version 1: no extensions, so the identity is the subject.
openssl req -new -key peer.key -subj "/C=CH/CN=old" -out leaf.tmp
openssl x509 -req -in leaf.tmp -signkey peer.key -days 20000 -out version1.pem 2>/dev/null
# Ways to write a private key. The passphrase is `open sesame`.
openssl genrsa -out rsa.key 2048 2>/dev/null
openssl rsa -in rsa.key -traditional -out pkcs1.key 2>/dev/null
openssl ec -in peer.key -out sec1.key 2>/dev/null
openssl pkcs8 -topk8 -in peer.key -passout 'pass:open sesame' -out pbes2.key
openssl pkcs8 -topk8 -in peer.key -scrypt -scrypt_N 1024 -passout 'pass:open sesame' -out scrypt.key
openssl pkcs8 -topk8 -in peer.key -v2 des3 -v2prf hmacWithSHA1 -passout 'pass:open sesame' -out pbes2-3des.key
openssl pkcs8 -topk8 -in peer.key -v1 PBE-SHA1-3DES -passout 'pass:open sesame' -out pbes1.key
openssl pkcs8 -topk8 -in peer.key -v1 PBE-MD5-DES -provider legacy -provider default -passout 'pass:open sesame' -out pbes1-des.key
openssl ec -in peer.key -aes128 -passout 'pass:open sesame' -out traditional.key 2>/dev/null
openssl x509 -in ca-ecdsa.pem -noout -pubkey | openssl pkey -pubin -outform DER | sha1sum | cut -d" " -f1 > ca-ecdsa.spki-sha1
rm -f *.tmp rsa.key brainpool.key
