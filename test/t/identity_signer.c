/*
 * identity_signer.c
 *		Makes keys and signs with them, for Token.pm: a process for each would cost
 *		a hundred times what a signature does.  libcrypto does it all, as it does
 *		for the openssl command; no line of cozi's is in it.
 *
 * Commands are read one a line, and each is answered by one line in hexadecimal:
 *
 *		key RSA | P-256 | P-384 | P-521 | ED25519	  the public key in DER
 *		sign KEY DIGEST PADDING TEXT				  the signature
 *
 * KEY is the number of the "key" command, from 0; DIGEST may be "none", PADDING is
 * "pss" or "none", and TEXT is in hexadecimal, too.
 */
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static EVP_PKEY *keys[100];
static int	nkeys;

static void
die(const char *what)
{
	fprintf(stderr, "identity_signer: %s failed\n", what);
	exit(1);
}

static void
answer(const unsigned char *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++)
		printf("%02x", bytes[i]);
	printf("\n");
	fflush(stdout);
}

static void
make_key(const char *kind)
{
	EVP_PKEY   *key;
	unsigned char *der = NULL;
	int			length;

	if (nkeys == (int) (sizeof(keys) / sizeof(keys[0])))
		die("one more key");
	if (strcmp(kind, "RSA") == 0)
		key = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t) 2048);
	else if (kind[0] == 'P')
		key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", kind);
	else
		key = EVP_PKEY_Q_keygen(NULL, NULL, kind);
	if (key == NULL || (length = i2d_PUBKEY(key, &der)) <= 0)
		die(kind);
	keys[nkeys++] = key;
	answer(der, length);
	OPENSSL_free(der);
}

static void
sign(int number, const char *digest, const char *padding, char *hex)
{
	unsigned char *text = (unsigned char *) hex;
	size_t		text_length = strlen(hex) / 2;
	unsigned char signature[1024];
	size_t		length = sizeof(signature);
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	EVP_PKEY_CTX *key_context;
	unsigned int byte;

	for (size_t i = 0; i < text_length; i++)
	{
		if (sscanf(hex + 2 * i, "%2x", &byte) != 1)
			die("hexadecimal");
		text[i] = byte;
	}
	if (number < 0 || number >= nkeys ||
		EVP_DigestSignInit_ex(context, &key_context, strcmp(digest, "none") ? digest : NULL,
							  NULL, NULL, keys[number], NULL) <= 0)
		die("EVP_DigestSignInit_ex()");
	if (strcmp(padding, "pss") == 0 &&
		(EVP_PKEY_CTX_set_rsa_padding(key_context, RSA_PKCS1_PSS_PADDING) <= 0 ||
		 EVP_PKEY_CTX_set_rsa_pss_saltlen(key_context, RSA_PSS_SALTLEN_DIGEST) <= 0))
		die("EVP_PKEY_CTX_set_rsa_padding()");
	if (EVP_DigestSign(context, signature, &length, text, text_length) <= 0)
		die("EVP_DigestSign()");
	EVP_MD_CTX_free(context);
	answer(signature, length);
}

int
main(void)
{
	static char line[1 << 20];
	static char text[1 << 20];
	char		digest[20];
	char		padding[20];
	int			number;

	while (fgets(line, sizeof(line), stdin) != NULL)
	{
		if (sscanf(line, "key %19s", digest) == 1)
			make_key(digest);
		else if (sscanf(line, "sign %d %19s %19s %s", &number, digest, padding, text) == 4)
			sign(number, digest, padding, text);
		else
			die(line);
	}
	return 0;
}
