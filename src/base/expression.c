/*
 * base/expression.c
 *		Expressions in plans.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "nodes/pg_list.h"
#include "nodes/primnodes.h"
#include "utils/fmgroids.h"

#include "base/base.h"

/*
 * Returns the column below the cast of an int or smallint column to bigint,
 * and sets *type to the column's type, because no index of the column serves
 * the cast.  Returns anything else as it is, and leaves *type alone.
 */
Node	   *
cozi_unwidened(Node *arg, Oid *type)
{
	FuncExpr   *cast = (FuncExpr *) arg;

	if (!IsA(arg, FuncExpr) || (cast->funcid != F_INT8_INT4 && cast->funcid != F_INT8_INT2))
		return arg;
	*type = cast->funcid == F_INT8_INT4 ? INT4OID : INT2OID;
	return linitial(cast->args);
}
