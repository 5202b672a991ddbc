/*
 * sharding/hash.h
 *		The number a key is routed by: pure arithmetic over PostgreSQL's hash.
 *
 * PostgreSQL's HASH partitioning puts a row into the partition whose remainder
 * is
 *
 *		(0 combined with hash<type>extended(key, COZI_HASH_SEED)) mod modulus
 *
 * in 64-bit unsigned arithmetic (compute_partition_hash_value and
 * satisfies_hash_partition in partitioning/partbounds.c).  The hash is Bob
 * Jenkins' lookup3 as in the server's hash_bytes_extended; what is repeated
 * here is how a type becomes bytes and what surrounds the hash.
 * doc/sharding.md has the same in Python and in JavaScript.
 *
 * The law: no answer of this file ever changes within a major version of cozi.
 * test/vectors/shard_*.csv were read off real partitions and bind it.
 */
#ifndef COZI_HASH_H
#define COZI_HASH_H

#include "common/hashfn.h"
#include "port/pg_bitutils.h"

#define COZI_HASH_SEED	UINT64CONST(0x7A5B22367996DCFD)

/* A partition key has one column: its hash is combined with an empty one. */
static inline uint64
hash_key_bytes(const void *bytes, int len)
{
	return hash_combine64(0, hash_bytes_extended(bytes, len, COZI_HASH_SEED));
}

/*
 * All integer types agree on a value that all can hold, so that a key column
 * may be widened without moving a row: the high half is folded into the low
 * one such that a sign extension leaves no trace.
 *
 * What follows is hash_bytes_uint32_extended(lo, COZI_HASH_SEED).  It mixes
 * the seed anew on each call; with the seed a constant, so is the state it
 * arrives at, and shard_of costs no more than the hash functions of SQL.
 */
static inline uint64
hash_key_int(int64 key)
{
	uint32		lo = (uint32) key;
	uint32		hi = (uint32) ((uint64) key >> 32);
	uint32		a = 0xE933553E;
	uint32		b = 0xC5DA07A8;
	uint32		c = 0xFDFD95ED;

	a += lo ^ (key >= 0 ? hi : ~hi);
	c = (c ^ b) - pg_rotate_left32(b, 14);
	a = (a ^ c) - pg_rotate_left32(c, 11);
	b = (b ^ a) - pg_rotate_left32(a, 25);
	c = (c ^ b) - pg_rotate_left32(b, 16);
	a = (a ^ c) - pg_rotate_left32(c, 4);
	b = (b ^ a) - pg_rotate_left32(a, 14);
	c = (c ^ b) - pg_rotate_left32(b, 24);
	return hash_combine64(0, (uint64) b << 32 | c);
}

#endif							/* COZI_HASH_H */
