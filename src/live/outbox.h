/*
 * live/outbox.h
 *		Outboxes: events written with the data, and delivered in order.
 *
 * An outbox is an ordinary table of its owner.  Its trigger puts every event in its
 * place: the trigger's argument is the id of the outbox, which a dump takes along
 * and ALTER TABLE RENAME leaves alone.  How far each consumer is stands in tables of
 * the extension.
 *
 * An event has a number, seq, and a mark, horizon: the first transaction that had not
 * begun when the number was drawn.  Every transaction that drew a smaller number
 * had an id already, and that id is smaller than the mark.  So an event may be delivered when
 * all transactions before its mark have ended; then no smaller number can appear.
 *
 * The law: the horizon is that of the snapshot by which the events are read.
 */
#ifndef COZI_OUTBOX_H
#define COZI_OUTBOX_H

#include "utils/snapshot.h"

#include "base/base.h"

#define OUTBOX_TRIGGER "cozi_outbox"
#define OUTBOX_FUNCTION "_outbox_event"

/* The columns of an outbox, in the order of its definition */
enum
{
	EVENT_ID, EVENT_AGGREGATETYPE, EVENT_AGGREGATEID, EVENT_TYPE, EVENT_PAYLOAD,
	EVENT_CREATED_AT, EVENT_SEQ, EVENT_HORIZON, EVENT_COLUMNS
};

typedef struct OutboxEvent
{
	int64		seq;
	bool		waits;			/* a transaction before its mark has not ended */
	Datum		values[EVENT_COLUMNS];
	bool		nulls[EVENT_COLUMNS];
} OutboxEvent;

typedef struct Outbox
{
	Relation	rel;
	int64		id;				/* 0: the table is no outbox */
} Outbox;

typedef struct OutboxConsumer
{
	const char *name;
	Oid			role;			/* invalid: it was dropped */
	int64		done;			/* all events up to this number are delivered */
	int64		lease;			/* the number of the last lease */
	bool		leased;			/* it has not ended */
	int64		leased_upto;	/* what it was for; 0: it was returned */
	int32		attempts;		/* how often the first event has been taken */
	int64		careful_upto;	/* one at a time up to here: a lease has run
								 * out */
} OutboxConsumer;

/* outbox_read.c */
typedef bool (*OutboxVisitor) (const OutboxEvent *event, void *arg);
extern void cozi_outbox_visit(Relation rel, int64 after, Snapshot snapshot,
							  OutboxVisitor visitor, void *arg);
extern bool cozi_outbox_is_readable(Oid relid);
extern const char *cozi_outbox_column(int i);
extern AttrNumber cozi_outbox_attnum(Relation rel, int i);

/* outbox_consumer.c */
extern void cozi_outbox_open(Oid relid, Outbox *outbox);
extern uint64 cozi_outbox_run(const char *template, int n, const Oid *types, const Datum *values,
							  const char *nulls, int expected);
extern bool cozi_outbox_find_consumer(const Outbox *outbox, const char *lock,
									  OutboxConsumer *consumer);
extern void cozi_outbox_require_consumer(const Outbox *outbox, const char *lock,
										 OutboxConsumer *consumer);

/* outbox_event.c */
extern Oid	cozi_outbox_sequence(Oid relid);
extern void cozi_outbox_check_sequence(Relation rel, int64 done);

#endif							/* COZI_OUTBOX_H */
