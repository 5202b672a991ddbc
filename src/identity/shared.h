/*
 * identity/shared.h
 *		What backends share: tokens verified lately, changes being committed.
 */
#ifndef COZI_IDENTITY_SHARED_H
#define COZI_IDENTITY_SHARED_H

#include "datatype/timestamp.h"

/* The tables whose commits are counted. */
typedef enum CoziChangeKind
{
	COZI_KEYS,
	COZI_REVOCATIONS,
	COZI_CHANGE_KINDS
} CoziChangeKind;

/* Longer claims are verified each time. */
#define COZI_LOGIN_DATA 1900

/* A token that was verified. */
typedef struct CoziLogin
{
	uint64		key[2];			/* digest of the row that verified it */
	TimestampTz verified_at;
	TimestampTz valid_until;	/* the earlier of the token's and the key's
								 * end */
	TimestampTz issued_at;		/* DT_NOBEGIN when the token does not say */
	int			claims_len;
	int			subject_len;
	int			jti_len;		/* 0: it has none */
	int			kid_len;		/* of the key; -1: it has none */
	int			data_len;		/* each of the four is followed by a NUL */
	char		data[COZI_LOGIN_DATA];	/* claims, subject, jti, kid */
} CoziLogin;

extern int	cozi_login_cache;
extern void cozi_hash128(uint64 first, const void *data, size_t len, uint64 hash[2]);
extern bool cozi_recall_login(const uint64 token[2], uint64 rules, TimestampTz now,
							  CoziLogin *login);
extern void cozi_remember_login(const uint64 token[2], uint64 rules, const CoziLogin *login);
extern uint64 cozi_count_changes(CoziChangeKind kind);
extern void cozi_shared_init(void);

#endif							/* COZI_IDENTITY_SHARED_H */
