/*
 * pure/siphash.h
 *		SipHash-2-4: a 64-bit hash that cannot be aimed without its key.
 *
 * J.-P. Aumasson, D. J. Bernstein, "SipHash: a fast short-input PRF" (2012).
 * The message is one 64-bit word (what the key is separated by: a database)
 * followed by the bytes of a string.  No server include: tested alone,
 * against the vectors of the paper's authors.
 */
#ifndef COZI_SIPHASH_H
#define COZI_SIPHASH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint64_t
cozi_sip_rotl(uint64_t x, int bits)
{
	return (x << bits) | (x >> (64 - bits));
}

static inline void
cozi_sip_rounds(uint64_t v[4], int rounds)
{
	while (rounds-- > 0)
	{
		v[0] += v[1];
		v[1] = cozi_sip_rotl(v[1], 13) ^ v[0];
		v[0] = cozi_sip_rotl(v[0], 32);
		v[2] += v[3];
		v[3] = cozi_sip_rotl(v[3], 16) ^ v[2];
		v[0] += v[3];
		v[3] = cozi_sip_rotl(v[3], 21) ^ v[0];
		v[2] += v[1];
		v[1] = cozi_sip_rotl(v[1], 17) ^ v[2];
		v[2] = cozi_sip_rotl(v[2], 32);
	}
}

static inline void
cozi_sip_word(uint64_t v[4], uint64_t word)
{
	v[3] ^= word;
	cozi_sip_rounds(v, 2);
	v[0] ^= word;
}

/* The state when the word and the bytes are in it. */
static inline void
cozi_sip_absorb(uint64_t v[4], const uint64_t seed[2], uint64_t first, const void *data, size_t len)
{
	const unsigned char *p = data;
	uint64_t	last = (uint64_t) (len + sizeof(first)) << 56;

	v[0] = seed[0] ^ UINT64_C(0x736f6d6570736575);
	v[1] ^= seed[1] ^ UINT64_C(0x646f72616e646f6d);
	v[2] = seed[0] ^ UINT64_C(0x6c7967656e657261);
	v[3] = seed[1] ^ UINT64_C(0x7465646279746573);
	cozi_sip_word(v, first);
	for (; len >= 8; len -= 8, p += 8)
	{
		uint64_t	word;

		/* native byte order: the seed never leaves this machine's memory */
		memcpy(&word, p, 8);
		cozi_sip_word(v, word);
	}
	for (size_t i = 0; i < len; i++)
		last |= (uint64_t) p[i] << (8 * i);
	cozi_sip_word(v, last);
}

static inline uint64_t
cozi_siphash(const uint64_t seed[2], uint64_t first, const void *data, size_t len)
{
	uint64_t	v[4] = {0, 0, 0, 0};

	cozi_sip_absorb(v, seed, first, data, len);
	v[2] ^= 0xff;
	cozi_sip_rounds(v, 4);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* The authors' variant of 128 bits, in one pass. */
static inline void
cozi_siphash128(const uint64_t seed[2], uint64_t first, const void *data, size_t len,
				uint64_t hash[2])
{
	uint64_t	v[4] = {0, 0xee, 0, 0};

	cozi_sip_absorb(v, seed, first, data, len);
	v[2] ^= 0xee;
	cozi_sip_rounds(v, 4);
	hash[0] = v[0] ^ v[1] ^ v[2] ^ v[3];
	v[1] ^= 0xdd;
	cozi_sip_rounds(v, 4);
	hash[1] = v[0] ^ v[1] ^ v[2] ^ v[3];
}

#endif							/* COZI_SIPHASH_H */
