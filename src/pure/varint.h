/*
 * pure/varint.h
 *		Integers of up to 128 bits in as few bytes as they need.
 *
 * Seven bits a byte, the lowest first, the eighth bit set where more follow.
 * The sign is the lowest bit (zigzag), so that small numbers of either sign are
 * short.  Nothing here includes the server.
 */
#ifndef COZI_VARINT_H
#define COZI_VARINT_H

#include <stddef.h>

#define VARINT_BYTES 19			/* of the longest */

/* Write a number; returns where the next one goes. */
static inline char *
varint_put(char *to, __int128 number)
{
	unsigned	__int128 v = ((unsigned __int128) number << 1) ^
	(unsigned __int128) (number >> 127);

	while (v >= 0x80)
	{
		*to++ = (char) (v | 0x80);
		v >>= 7;
	}
	*to++ = (char) v;
	return to;
}

/* Read a number; returns where the next one is, NULL if this one is malformed. */
static inline const unsigned char *
varint_get(const unsigned char *from, const unsigned char *end, __int128 * number)
{
	unsigned	__int128 v = 0;

	for (int shift = 0;; shift += 7)
	{
		if (from >= end || shift >= 7 * VARINT_BYTES)
			return NULL;
		v |= (unsigned __int128) (*from & 0x7f) << shift;
		if ((*from++ & 0x80) == 0)
			break;
	}
	*number = (__int128) (v >> 1) ^ -(__int128) (v & 1);
	return from;
}

#endif							/* COZI_VARINT_H */
