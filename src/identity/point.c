/*
 * identity/point.c
 *		Are 32 bytes a sound public key of Ed25519?
 *
 * OpenSSL takes any.  With a key that is no point of the curve nothing is
 * promised; with one of small order a signature that anybody can write
 * verifies every message (RFC 8032 section 5.1.7, RFC 8725 section 3.4).
 *
 * The curve is -x^2 + y^2 = 1 + d x^2 y^2 modulo p = 2^255 - 19, so that
 * x^2 = (y^2 - 1) / (d y^2 + 1).  Doubling needs no more than squares:
 * y(2P) = (y^2 + x^2) / (1 - d x^2 y^2).  The order of a point divides 8, the
 * cofactor, exactly if y(8P) = 1.
 */
#include "postgres.h"

#include <openssl/bn.h>
#include <openssl/err.h>

#include "base/base.h"
#include "identity/key.h"

typedef struct Field
{
	BN_CTX	   *ctx;
	BIGNUM	   *p;
	BIGNUM	   *d;
	BIGNUM	   *one;
} Field;

static bool
open_field(Field *f)
{
	static const char p[] = "7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffed";
	static const char d[] = "52036cee2b6ffe738cc740797779e89800700a4d4141d8ab75eb4dca135978a3";

	f->p = f->d = f->one = NULL;
	f->ctx = BN_CTX_new();
	return f->ctx != NULL && BN_hex2bn(&f->p, p) > 0 && BN_hex2bn(&f->d, d) > 0 &&
		BN_dec2bn(&f->one, "1") > 0;
}

static void
close_field(Field *f)
{
	BN_free(f->p);
	BN_free(f->d);
	BN_free(f->one);
	BN_CTX_free(f->ctx);
}

/* x^2 of the point, or of the two points, with that y. */
static bool
square_of_x(const Field *f, BIGNUM *xx, const BIGNUM *y)
{
	BIGNUM	   *yy = BN_new();
	BIGNUM	   *below = BN_new();
	bool		done = yy && below &&
	BN_mod_sqr(yy, y, f->p, f->ctx) && BN_mod_mul(below, f->d, yy, f->p, f->ctx) &&
	BN_mod_add(below, below, f->one, f->p, f->ctx) &&
	BN_mod_inverse(below, below, f->p, f->ctx) != NULL &&
	BN_mod_sub(yy, yy, f->one, f->p, f->ctx) && BN_mod_mul(xx, yy, below, f->p, f->ctx);

	BN_free(yy);
	BN_free(below);
	return done;
}

/* y becomes that of twice the point. */
static bool
double_point(const Field *f, BIGNUM *y)
{
	BIGNUM	   *xx = BN_new();
	BIGNUM	   *yy = BN_new();
	BIGNUM	   *below = BN_new();
	bool		done = xx && yy && below &&
	square_of_x(f, xx, y) && BN_mod_sqr(yy, y, f->p, f->ctx) &&
	BN_mod_mul(below, xx, yy, f->p, f->ctx) && BN_mod_mul(below, below, f->d, f->p, f->ctx) &&
	BN_mod_sub(below, f->one, below, f->p, f->ctx) &&
	BN_mod_inverse(below, below, f->p, f->ctx) != NULL &&
	BN_mod_add(yy, yy, xx, f->p, f->ctx) && BN_mod_mul(y, yy, below, f->p, f->ctx);

	BN_free(xx);
	BN_free(yy);
	BN_free(below);
	return done;
}

bool
cozi_ed25519_is_sound(const unsigned char *bytes)
{
	unsigned char little[32];
	Field		f;
	BIGNUM	   *y,
			   *xx = BN_new();
	bool		sound;

	memcpy(little, bytes, sizeof(little));
	little[31] &= 0x7f;			/* the highest bit is the sign of x */
	y = BN_lebin2bn(little, sizeof(little), NULL);
	/* y in its one form, x a square root, and not of small order */
	sound = open_field(&f) && y && xx && BN_cmp(y, f.p) < 0 &&
		square_of_x(&f, xx, y) && BN_kronecker(xx, f.p, f.ctx) == 1 &&
		double_point(&f, y) && double_point(&f, y) && double_point(&f, y) && !BN_is_one(y);
	BN_free(y);
	BN_free(xx);
	close_field(&f);
	ERR_clear_error();
	return sound;
}
