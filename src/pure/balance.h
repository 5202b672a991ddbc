/*
 * pure/balance.h
 *		Who takes what: units of load on nodes, moved as little as possible.
 *
 * A unit is a bucket of users, or several that move together; it lies on one
 * node.  The level of a node is its load by its capacity.  Units that may not
 * stay where they are go first, the heaviest before the others, each to the
 * node whose level then is lowest.  Then the node of the highest level gives,
 * again and again, to the lowest that may take: the largest unit that brings
 * neither of them past the mean, or, where all are larger, the smallest.
 *
 * A move must leave the receiver below the level that the giver had.  So the
 * levels, sorted downwards, become smaller with each move, and it ends.
 *
 * Nothing here includes the server.  Capacities are positive and loads are not
 * negative, and both are finite: callers check.
 */
#ifndef COZI_BALANCE_H
#define COZI_BALANCE_H

#include <stdbool.h>

typedef struct BalanceNode
{
	double		capacity;
	double		load;			/* of the units on it; set by balance_start() */
	int			region;			/* -1: none */
	bool		open;			/* takes units that are not pinned to it */
	bool		stuck;			/* has nothing more to give */
} BalanceNode;

typedef struct BalanceUnit
{
	double		load;
	int			node;
	int			region;			/* that it has to lie in; -1: any */
	bool		pinned;
} BalanceUnit;

typedef struct Balance
{
	BalanceNode *node;
	int			n_nodes;
	BalanceUnit *unit;
	int			n_units;
	double		mean;			/* the level if all open nodes were alike */
} Balance;

static inline bool
balance_allowed(const Balance *b, const BalanceUnit *unit, int node)
{
	return b->node[node].open && (unit->region < 0 || unit->region == b->node[node].region);
}

static inline double
balance_level(const Balance *b, int node)
{
	return b->node[node].load / b->node[node].capacity;
}

static inline void
balance_move(Balance *b, BalanceUnit *unit, int node)
{
	b->node[unit->node].load -= unit->load;
	b->node[node].load += unit->load;
	unit->node = node;
}

/* The node that may take the unit and has the lowest level with it; -1: none. */
static inline int
balance_lowest(const Balance *b, const BalanceUnit *unit)
{
	int			best = -1;
	double		lowest = 0;

	for (int i = 0; i < b->n_nodes; i++)
	{
		double		level = (b->node[i].load + unit->load) / b->node[i].capacity;

		if (!balance_allowed(b, unit, i) || (best >= 0 && level >= lowest))
			continue;
		best = i;
		lowest = level;
	}
	return best;
}

/*
 * Add the loads up, and move what may not stay.  Returns a unit that no node
 * may take, or NULL.
 */
static inline BalanceUnit *
balance_start(Balance *b)
{
	double		load = 0;
	double		capacity = 0;

	for (int i = 0; i < b->n_nodes; i++)
		b->node[i].load = 0;
	for (int i = 0; i < b->n_units; i++)
		b->node[b->unit[i].node].load += b->unit[i].load;
	for (;;)
	{
		BalanceUnit *heaviest = NULL;
		int			node;

		for (BalanceUnit *u = b->unit; u < b->unit + b->n_units; u++)
			if (!u->pinned && !balance_allowed(b, u, u->node) &&
				(heaviest == NULL || u->load > heaviest->load))
				heaviest = u;
		if (heaviest == NULL)
			break;
		node = balance_lowest(b, heaviest);
		if (node < 0)
			return heaviest;
		balance_move(b, heaviest, node);
	}
	for (int i = 0; i < b->n_nodes; i++)
	{
		load += b->node[i].open ? b->node[i].load : 0;
		capacity += b->node[i].open ? b->node[i].capacity : 0;
	}
	b->mean = capacity > 0 ? load / capacity : 0;
	return NULL;
}

/*
 * The unit that the giver should let the taker have; NULL if none makes it better.
 * *fits: whether it brings neither past the mean.
 */
static inline BalanceUnit *
balance_pick(Balance *b, int giver, int taker, bool *fits)
{
	double		excess = b->node[giver].load - b->mean * b->node[giver].capacity;
	double		room = b->mean * b->node[taker].capacity - b->node[taker].load;
	double		need = (excess < room ? excess : room) * (1 + 1e-9);
	double		highest = balance_level(b, giver) * (1 - 1e-12);
	BalanceUnit *largest = NULL;
	BalanceUnit *smallest = NULL;

	for (BalanceUnit *u = b->unit; u < b->unit + b->n_units; u++)
	{
		if (u->node != giver || u->pinned || u->load <= 0 || !balance_allowed(b, u, taker))
			continue;
		if (u->load <= need)
		{
			if (largest == NULL || u->load > largest->load)
				largest = u;
		}
		else if ((b->node[taker].load + u->load) / b->node[taker].capacity < highest &&
				 (smallest == NULL || u->load < smallest->load))
			smallest = u;
	}
	*fits = largest != NULL;
	return largest ? largest : smallest;
}

/* One move away from the node of the highest level; false when that node has none. */
static inline bool
balance_relieve(Balance *b, int giver)
{
	BalanceUnit *best = NULL;
	int			best_taker = -1;
	bool		best_fits = false;

	for (int taker = 0; taker < b->n_nodes; taker++)
	{
		bool		fits;
		BalanceUnit *unit;

		if (taker == giver || !b->node[taker].open)
			continue;
		unit = balance_pick(b, giver, taker, &fits);
		if (unit == NULL || (best_fits && !fits))
			continue;
		if (best == NULL || (fits && !best_fits) ||
			balance_level(b, taker) < balance_level(b, best_taker))
		{
			best = unit;
			best_taker = taker;
			best_fits = fits;
		}
	}
	if (best == NULL)
		return false;
	balance_move(b, best, best_taker);
	return true;
}

/* Until no open node is more than tolerance above the mean, or nothing helps. */
static inline void
balance_run(Balance *b, double tolerance)
{
	for (int i = 0; i < b->n_nodes; i++)
		b->node[i].stuck = false;
	for (;;)
	{
		int			giver = -1;

		for (int i = 0; i < b->n_nodes; i++)
			if (b->node[i].open && !b->node[i].stuck &&
				balance_level(b, i) > b->mean * (1 + tolerance) &&
				(giver < 0 || balance_level(b, i) > balance_level(b, giver)))
				giver = i;
		if (giver < 0)
			return;
		if (!balance_relieve(b, giver))
			b->node[giver].stuck = true;
	}
}

#endif							/* COZI_BALANCE_H */
