/*
 * pure/base64url.h
 *		Bytes as text that a URL takes as it is (RFC 4648 section 5), without padding.
 *
 * The law: each sequence of bytes has one text, and what is read was written so.
 */
#ifndef COZI_BASE64URL_H
#define COZI_BASE64URL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The length of the text of so many bytes. */
#define COZI_BASE64URL_LENGTH(len) ((len) / 3 * 4 + ((len) % 3 ? (len) % 3 + 1 : 0))

extern bool cozi_is_base64url(char c);
extern int	cozi_base64url(const char *text, size_t len, unsigned char *out, size_t size);
extern size_t cozi_base64url_write(const unsigned char *bytes, size_t len, char *out);

#endif							/* COZI_BASE64URL_H */
