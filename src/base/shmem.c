/*
 * base/shmem.c
 *		Shared memory of the rooms: one area each, found by its name.
 *
 * Preloaded, an area is a structure of fixed size in the main segment,
 * asked for in shmem_request_hook and made in shmem_startup_hook.  Not
 * preloaded, it is a dynamic segment, made by the first backend that needs it
 * and pinned, so that it lives until the server stops; a rendezvous, the one
 * small structure every backend can find by name, holds its handle.
 *
 * An area is initialized before anybody else can see it: in the postmaster,
 * or before its handle is put into the rendezvous, with a compare-and-exchange
 * that only one backend wins.  Thus nothing is locked here while a segment is
 * created, mapped or filled, any of which may fail.
 *
 * It is zero when it is initialized: the main segment is new memory of the
 * kernel's, of which nothing is given out twice, and after a crash another
 * one.  Who writes no zeros into it again has a server that starts sooner, and
 * memory that is taken when it is used.
 *
 * A crash of any backend gives everybody new, empty areas.  A library newer
 * than the area it finds (an upgrade in place, without a restart) refuses to
 * read it: CoziShmemHeader is the first thing in every area, and neither it
 * nor CoziRendezvous may ever change.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/dsm.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"

#include "base/base.h"

#define COZI_SHMEM_MAGIC 0x636f7a69
#define COZI_MAX_AREAS 8

typedef struct CoziRendezvous
{
	pg_atomic_uint32 handle;	/* of the area's segment, or
								 * DSM_HANDLE_INVALID */
	uint32		reserved[15];
} CoziRendezvous;

static bool preloaded = false;
static CoziShmem *requested[COZI_MAX_AREAS];
static int	n_requested = 0;

static shmem_request_hook_type prev_shmem_request_hook = NULL;
static shmem_startup_hook_type prev_shmem_startup_hook = NULL;

bool
cozi_preloaded(void)
{
	return preloaded;
}

static void
init_area(CoziShmem *shmem, CoziShmemHeader *area, Size size)
{
	area->magic = COZI_SHMEM_MAGIC;
	area->layout = shmem->layout;
	area->size = size;
	shmem->init(area);
}

static void
use_area(CoziShmem *shmem, CoziShmemHeader *area, bool dynamic)
{
	if (area->magic != COZI_SHMEM_MAGIC || area->layout != shmem->layout)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("shared memory \"%s\" was made by another version of cozi",
						shmem->name),
				 errdetail("Its layout is %u, this version's is %u.",
						   area->layout, shmem->layout),
				 errhint("Restart the server.")));
	if (shmem->attach)
		shmem->attach(area);
	shmem->dynamic = dynamic;
	shmem->area = area;
}

static void
request_areas(void)
{
	if (prev_shmem_request_hook)
		prev_shmem_request_hook();
	for (int i = 0; i < n_requested; i++)
		RequestAddinShmemSpace(requested[i]->size());
}

static void
start_areas(void)
{
	if (prev_shmem_startup_hook)
		prev_shmem_startup_hook();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	for (int i = 0; i < n_requested; i++)
	{
		Size		size = requested[i]->size();
		bool		found;
		CoziShmemHeader *area = ShmemInitStruct(requested[i]->name, size, &found);

		if (!found)
			init_area(requested[i], area, size);
		use_area(requested[i], area, false);
	}
	LWLockRelease(AddinShmemInitLock);
}

/* Call this before any domain's init. */
void
cozi_shmem_init(void)
{
	if (!process_shared_preload_libraries_in_progress)
		return;
	preloaded = true;
	prev_shmem_request_hook = shmem_request_hook;
	shmem_request_hook = request_areas;
	prev_shmem_startup_hook = shmem_startup_hook;
	shmem_startup_hook = start_areas;
}

/* Have the area in the main segment; without preload this does nothing. */
void
cozi_shmem_request(CoziShmem *shmem)
{
	if (!process_shared_preload_libraries_in_progress)
		return;
	if (n_requested >= COZI_MAX_AREAS)
		elog(ERROR, "too many shared memory areas");
	requested[n_requested++] = shmem;
}

static void
init_rendezvous(named_struct_init_args)
{
	CoziRendezvous *rendezvous = ptr;

	memset(rendezvous, 0, sizeof(CoziRendezvous));
	pg_atomic_init_u32(&rendezvous->handle, DSM_HANDLE_INVALID);
}

/* Make the area and offer it; somebody else may have been faster. */
static dsm_segment *
create_segment(CoziShmem *shmem, CoziRendezvous *rendezvous)
{
	Size		size = shmem->size();
	dsm_segment *seg = dsm_create(size, 0);
	dsm_handle	handle = dsm_segment_handle(seg);
	uint32		expected = DSM_HANDLE_INVALID;

	/* a segment may be a part of min_dynamic_shared_memory, used before */
	memset(dsm_segment_address(seg), 0, size);
	init_area(shmem, dsm_segment_address(seg), size);
	dsm_pin_segment(seg);
	if (pg_atomic_compare_exchange_u32(&rendezvous->handle, &expected, handle))
		return seg;
	dsm_unpin_segment(handle);
	dsm_detach(seg);
	return NULL;
}

/*
 * The area, or NULL if it does not exist and create is false.  An error that
 * is caught must be followed by LWLockReleaseAll() and the release of the
 * resource owner, as after any other error of the storage layer.
 */
CoziShmemHeader *
cozi_shmem_attach(CoziShmem *shmem, bool create)
{
	CoziRendezvous *rendezvous;
	dsm_segment *seg = NULL;
	dsm_handle	handle;
	bool		found;

	if (likely(shmem->area != NULL))
		return shmem->area;

	rendezvous = get_named_struct_compat(shmem->name, sizeof(CoziRendezvous),
										 init_rendezvous, &found);
	handle = pg_atomic_read_u32(&rendezvous->handle);
	if (handle == DSM_HANDLE_INVALID)
	{
		if (!create)
			return NULL;
		seg = create_segment(shmem, rendezvous);
		if (seg == NULL)
			handle = pg_atomic_read_u32(&rendezvous->handle);
	}
	if (seg == NULL)
		seg = dsm_attach(handle);
	if (seg == NULL)
		elog(ERROR, "shared memory \"%s\" has vanished", shmem->name);

	use_area(shmem, dsm_segment_address(seg), true);
	dsm_pin_mapping(seg);
	return shmem->area;
}
