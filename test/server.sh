# server.sh: a private, throw-away PostgreSQL server with cozi installed.
#
# Sourced by test/run, demo/run and bench/run, which all begin with
#
#     stage PACKAGES... || exit    (first pass, as whoever called)
#     build; start [CONF...]       (second pass, never root, in a copy)
#
# The first pass installs missing packages, copies the checkout to a
# directory of its own and runs the same script again there, as user postgres
# if the caller is root.  The second pass makes a relocated copy of the
# server's programs: PostgreSQL finds its libraries relative to its binary, so
# the copy may be installed into without touching the system's PostgreSQL.
#
# Laws: nothing is written outside $COZI_WORK but packages; PostgreSQL never
# runs as root; nothing listens on TCP; only what was started here is stopped.

set -u

say() { printf '%s\n' "$@" >&2; }

# --- first pass -----------------------------------------------------------

find_pg_config() {
	[ -n "${PG_CONFIG:-}" ] && { command -v "$PG_CONFIG"; return; }
	for pgc in $(ls -d /usr/lib/postgresql/*/bin/pg_config 2>/dev/null | sort -rV) "$(command -v pg_config)"; do
		[ -n "$pgc" ] && [ -x "$("$pgc" --bindir)/initdb" ] && { echo "$pgc"; return; }
	done
	return 1
}

# The major version to install: what is there, else what Debian would take.
major_version() {
	if pgc=$(find_pg_config); then
		"$pgc" --version | sed 's/[^0-9]*\([0-9]*\).*/\1/'
	else
		apt-cache depends postgresql 2>/dev/null | sed -n 's/.*Depends: postgresql-\([0-9]*\)$/\1/p' | grep . || echo 15
	fi
}

# Of packages by name, or COMMAND:PACKAGE where any provider of the command
# will do, those not installed.  A server named by PG_CONFIG is not Debian's.
missing_packages() {
	for p in "$@"; do
		case $p in
			*MAJOR)
				[ -n "${PG_CONFIG:-}" ] && continue
				p=${p%MAJOR}$(major_version) ;;
		esac
		case $p in
			*:*) command -v "${p%%:*}" >/dev/null 2>&1 || echo "${p#*:}" ;;
			*) dpkg-query -W -f '${Status}\n' "$p" 2>/dev/null | grep -q 'ok installed' || echo "$p" ;;
		esac
	done | tr '\n' ' '
}

apt_line() { echo "apt-get install --no-install-recommends $*"; }

install_packages() {
	command -v apt-get >/dev/null 2>&1 || return 0
	missing=$(missing_packages "$@")
	[ -n "$missing" ] || return 0
	sudo=
	if [ "$(id -u)" -ne 0 ]; then
		sudo=$(command -v sudo) || {
			say "cozi needs packages that are not installed; as root, run:" "    $(apt_line $missing)"
			exit 2
		}
	fi
	say "updating the lists of packages"
	$sudo apt-get update -qq >&2
	missing=$(missing_packages "$@")
	say "installing: $missing"
	$sudo sh -s -- $missing >&2 <<-'END' || { say "that failed; as root, run:" "    $(apt_line $missing)"; exit 2; }
		# Debian would create and start a server of its own: not asked for.
		d=/etc/postgresql-common/createcluster.d
		if [ ! -e /usr/bin/pg_createcluster ]; then
			mkdir -p $d && echo "create_main_cluster = false" >$d/cozi.conf
		fi
		DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends -o Dpkg::Use-Pty=0 "$@" |
			grep --line-buffered '^Setting up' | sed -u 's/^/  /'
		rm -f $d/cozi.conf
		dpkg-query -W "$@" >/dev/null
	END
}

# A short directory (socket paths end at 107 bytes) that may hold programs.
work_dir() {
	for base in "${TMPDIR:-/tmp}" /tmp /var/tmp; do
		d=$(mktemp -d "$base/cozi.XXXXXX" 2>/dev/null) || continue
		printf '#!/bin/sh\n' > "$d/x" && chmod 755 "$d/x" && "$d/x" 2>/dev/null && { rm "$d/x"; echo "$d"; return; }
		rm -rf "$d"
	done
	say "no directory for temporary programs: /tmp and /var/tmp are noexec or full"
	return 1
}

# stage SCRIPT PACKAGES -- ARGS: the first pass.
stage() {
	script=$1 packages=$2
	shift 3
	install_packages $packages
	PG_CONFIG=$(find_pg_config) || { say "no PostgreSQL with server headers found: set PG_CONFIG"; exit 2; }
	COZI_WORK=$(work_dir) || exit 1
	export PG_CONFIG COZI_WORK
	mkdir "$COZI_WORK/cozi"
	tar -C "$root" -c --exclude=.git --exclude='*.o' --exclude='*.bc' --exclude='*.so' --exclude=tmp_check . | tar -C "$COZI_WORK/cozi" -x
	user=
	if [ "$(id -u)" -eq 0 ]; then
		user=nobody
		id postgres >/dev/null 2>&1 && user=postgres
		chown -R "$user" "$COZI_WORK"
	fi
	trap 'rm -rf "$COZI_WORK"' EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM
	cd "$COZI_WORK/cozi" || exit 1
	${user:+setpriv --reuid="$user" --regid="$(id -g "$user")" --clear-groups} \
		env HOME="$COZI_WORK" LC_ALL=C.UTF-8 "$script" "$@"
	status=$?
	if [ -e "$COZI_WORK/keep" ]; then
		trap - EXIT
	fi
	return $status
}

# --- second pass ----------------------------------------------------------

# The relocated copy: programs copied, libraries and shared files linked.
relocate() {
	pg=$COZI_WORK/pg
	for dir in bindir pkglibdir sharedir includedir-server includedir pkgincludedir; do
		from=$("$PG_CONFIG" --$dir)
		mkdir -p "$pg$from"
		case $dir in
			bindir) cp "$from"/* "$pg$from"/ ;;
			*) cp -as "$from"/. "$pg$from"/ 2>/dev/null || : ;;
		esac
	done
	bindir=$("$PG_CONFIG" --bindir)
	PATH=$pg$bindir:$PATH
	PG_CONFIG=$pg$bindir/pg_config
	share=$("$PG_CONFIG" --sharedir)
	# pgTAP is only SQL: Debian's serves a server built from source as well.
	[ -e "$share/extension/pgtap.control" ] ||
		cp /usr/share/postgresql/*/extension/pgtap* "$share/extension/" 2>/dev/null || :
	export PATH PG_CONFIG
}

# build [MAKE ARGS]: compile and install into the copy.
build() {
	relocate
	make -s -j2 with_llvm=no PG_CONFIG="$PG_CONFIG" "$@" all >"$COZI_WORK/build.log" 2>&1 &&
	make -s with_llvm=no PG_CONFIG="$PG_CONFIG" install >>"$COZI_WORK/build.log" 2>&1 || {
		cat "$COZI_WORK/build.log"
		say "cozi did not build"
		return 1
	}
}

# start [LINE...]: a new cluster, test/cozi.conf and the given lines its settings.
start() {
	PGDATA=$COZI_WORK/data PGHOST=$COZI_WORK PGPORT=5432 PGUSER=postgres PGDATABASE=postgres
	export PGDATA PGHOST PGPORT PGUSER PGDATABASE
	rm -rf "$PGDATA"
	initdb -N -U postgres -A trust --no-locale -E UTF8 >"$COZI_WORK/initdb.log" 2>&1 || { cat "$COZI_WORK/initdb.log"; return 1; }
	{
		cat test/cozi.conf
		echo "unix_socket_directories = '$COZI_WORK'"
		for line in "$@"; do echo "$line"; done
	} >>"$PGDATA/postgresql.conf"
	pg_ctl -w -l "$COZI_WORK/server.log" start >/dev/null || { cat "$COZI_WORK/server.log"; return 1; }
	trap 'stop' EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM
}

stop() {
	pg_ctl -w -m immediate stop >/dev/null 2>&1 || :
}
