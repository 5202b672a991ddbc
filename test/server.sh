# shellcheck shell=sh disable=SC2154 # the script that sources this sets root
#
# server.sh: a private, throw-away PostgreSQL server with cozi installed.
#
# Sourced by test/run, demo/run and bench/run.  Each of them runs twice:
#
#     [ -n "${COZI_WORK:-}" ] || { stage SCRIPT MEGABYTES PACKAGES -- ARGS...; exit; }
#     build; start [LINE...]
#
# The first pass, as the caller, installs missing packages, copies the
# checkout to a directory of its own, $COZI_WORK, runs the same script again
# in that copy, as user postgres if the caller is root, and removes it all.
# The second pass makes a relocated copy of the server's programs: PostgreSQL
# finds its libraries relative to its binary, so that the copy may be
# installed into without touching the system's PostgreSQL.
#
# Laws: nothing is written outside $COZI_WORK but packages, and the page of
# demo/run; PostgreSQL never runs as root; nothing listens on TCP; only what was
# started here is stopped.

set -u

# Debian keeps pgbouncer in /usr/sbin, which is on root's PATH only.
PATH=$PATH:/usr/sbin
export PATH

say() { printf '%s\n' "$@" >&2; }

# The first pass: packages.

# What Debian would install, if apt knows: the major version, else 15.
debian_major() {
	major=$(apt-cache depends postgresql 2>/dev/null |
		sed -n 's/.*Depends: postgresql-\([0-9]*\)$/\1/p')
	echo "${major:-15}"
}

supported() { [ "$1" -ge 15 ] && [ "$1" -le 19 ]; }

# Sets major, and pg_config where the server is there already: the one named
# by PG_CONFIG, Debian's newest, or the one on the PATH.  foreign=1 says that
# Debian's packages do not know it.
find_server() {
	pg_config='' foreign=''
	if [ -n "${PG_CONFIG:-}" ]; then
		pg_config=$(command -v "$PG_CONFIG") &&
			pg_config=$(cd "$(dirname "$pg_config")" && pwd)/$(basename "$pg_config") &&
			"$pg_config" --version >/dev/null || {
			say "PG_CONFIG=$PG_CONFIG is not a pg_config"
			exit 2
		}
	else
		for dir in $(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -rV); do
			supported "$(basename "$(dirname "$dir")")" && [ -x "$dir/initdb" ] &&
				pg_config=$dir/pg_config && break
		done
		if [ -z "$pg_config" ] && p=$(command -v pg_config) &&
			[ -x "$("$p" --bindir)/initdb" ]; then
			pg_config=$p
		fi
	fi
	if [ -n "$pg_config" ]; then
		major=$("$pg_config" --version | sed 's/[^0-9]*\([0-9]*\).*/\1/')
		bindir=$("$pg_config" --bindir)
		[ "$bindir" = "/usr/lib/postgresql/$major/bin" ] || foreign=1
	else
		major=$(debian_major)
	fi
	supported "$major" || {
		say "PostgreSQL $major${pg_config:+ ($pg_config)} is not supported: cozi needs 15 to 19" \
			"other versions for Debian and Ubuntu: https://wiki.postgresql.org/wiki/Apt"
		exit 2
	}
}

installed() { dpkg-query -W -f '${Status}\n' "$1" 2>/dev/null | grep -q 'ok installed'; }

# A node that Debian did not package cannot have Debian's modules beside it.
foreign_node() {
	command -v node >/dev/null &&
		! dpkg-query -W -f '${Maintainer}' nodejs 2>/dev/null | grep -q 'debian\.org'
}

# Of the packages named those that are missing.  % is the major version;
# COMMAND:PACKAGE will do with any provider of the command.
missing_packages() {
	for p in "$@"; do
		case $p in
			postgresql-%-pgtap) # only SQL: Debian's serves any server
				[ -n "$foreign" ] &&
					ls /usr/share/postgresql/*/extension/pgtap.control >/dev/null 2>&1 && continue
				[ -n "$foreign" ] && p=postgresql-$(debian_major)-pgtap ;;
			postgresql-%-hypopg | postgresql-%-plproxy) # skipped where there is none
				[ -z "$foreign" ] &&
					apt-cache show "$(echo "$p" | sed "s/%/$major/")" >/dev/null 2>&1 || continue ;;
			postgresql-*%*) [ -n "$foreign" ] && continue ;;
			node-pg) foreign_node && continue ;;
			*:*) command -v "${p%%:*}" >/dev/null && continue
				p=${p#*:} ;;
		esac
		p=$(echo "$p" | sed "s/%/$major/")
		installed "$p" || echo "$p"
	done | tr '\n' ' '
}

# Run by root.  Debian would create and start a PostgreSQL cluster, and start
# pgbouncer and prometheus: not asked for.
apt_install='
	cluster=/etc/postgresql-common/createcluster.d/cozi.conf
	policy=/usr/sbin/policy-rc.d
	mkdir -p "${cluster%/*}" && echo "create_main_cluster = false" >"$cluster" || exit 1
	undo="rm -f $cluster; rmdir -p --ignore-fail-on-non-empty ${cluster%/*}"
	if [ ! -e $policy ]; then
		printf "#!/bin/sh\ncase \$1 in pgbouncer*|prometheus*) exit 101 ;; esac\n" >$policy &&
			chmod 755 $policy
		undo="$undo; rm -f $policy"
	fi
	trap "$undo" EXIT
	trap "exit 130" INT
	trap "exit 143" TERM HUP
	export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
	apt-get install -q -y --no-install-recommends \
		-o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 "$@" 2>&1 </dev/null | {
		got=0 up=0 line=
		while read -r word rest; do
			case $word in
				Need|After) echo "  $word $rest"; continue ;;
				E:) echo "$word $rest"; continue ;;
				Get:*) got=$((got + 1)) ;;
				Setting) up=$((up + 1)) ;;
				*) continue ;;
			esac
			line="  downloaded $got packages, set up $up"
			if [ -t 1 ]; then
				printf "\r%s" "$line"
			elif [ $(((got + up) % 25)) -eq 0 ]; then
				echo "$line"
				line=
			fi
		done
		if [ -t 1 ]; then echo; elif [ -n "$line" ]; then echo "$line"; fi
	}
	for package in "$@"; do
		case $package in
			pgbouncer|prometheus*) update-rc.d "$package" disable >/dev/null 2>&1 ;;
		esac
		dpkg-query -W -f "\${Status}\n" "$package" | grep -q "ok installed" || exit 1
	done'

install_packages() {
	command -v apt-get >/dev/null || return 0
	missing=$(missing_packages "$@")
	[ -n "$missing" ] || return 0
	sudo=''
	[ "$(id -u)" -eq 0 ] || { sudo=$(command -v sudo) && sudo true; } || ask_for_packages
	say "updating the lists of packages"
	$sudo apt-get update -qq >&2
	find_server
	missing=$(missing_packages "$@")
	say "installing $missing"
	$sudo sh -c "$apt_install" sh $missing >&2 || ask_for_packages
	find_server
}

ask_for_packages() {
	say "cozi needs packages that are not installed; as root, run:" ''
	[ -n "$(apt-cache pkgnames postgresql-common 2>/dev/null)" ] || say "    apt-get update"
	say "    apt-get install --no-install-recommends ${missing% }" ''
	exit 2
}

# The first pass: the directory.

# Megabytes that are free below a directory; of no use where df cannot say.
free_space() {
	df -Pk "$1" 2>/dev/null | awk 'NR == 2 { print int($4 / 1024) }'
}

# Whether files in memory are affordable: 8 GB are free, and /dev/shm may take them.
memory_to_spare() {
	[ "$(free_space /dev/shm)" -ge 8192 ] &&
		awk '/^MemAvailable:/ { enough = $2 >= 8192 * 1024 } END { exit !enough }' /proc/meminfo
} 2>/dev/null

# Sets COZI_WORK: a directory that may hold programs, whose sockets' paths stay
# below the 107 bytes they may have, that has room, and that the user can reach.
work_dir() {
	for base in "${TMPDIR:-/tmp}" /tmp /var/tmp; do
		case $base in *[!A-Za-z0-9/._-]*) continue ;; esac
		free=$(free_space "$base")
		if [ "${free:-$space}" -lt "$space" ]; then
			say "$base has $free MB free, and $script needs $space"
			continue
		fi
		[ ${#base} -le 50 ] && COZI_WORK=$(mktemp -d "$base/cozi.XXXXXX" 2>/dev/null) || continue
		[ -z "$as_user" ] || chown "$user:" "$COZI_WORK"
		printf '#!/bin/sh\n' >"$COZI_WORK/x" && chmod 755 "$COZI_WORK/x" &&
			$as_user "$COZI_WORK/x" 2>/dev/null && rm "$COZI_WORK/x" && return
		rm -rf "$COZI_WORK"
	done
	say "no directory for temporary programs:" \
		"TMPDIR, /tmp and /var/tmp are too small, noexec or not writable" \
		"set TMPDIR to a directory with $space MB"
	exit 1
}

# Stop the servers whose data is in $COZI_WORK, wherever a test left them.
stop_servers() {
	find "$COZI_WORK" -name postmaster.pid 2>/dev/null | while read -r file; do
		pid=$(head -n 1 "$file" 2>/dev/null)
		[ "$(readlink "/proc/$pid/cwd")" = "${file%/*}" ] || continue
		kill -QUIT "$pid"
		for _ in 1 2 3 4 5 6 7 8 9 10; do
			[ -e "/proc/$pid/cwd" ] || break
			sleep 0.3
		done
	done
}

clean_up() {
	trap '' INT TERM HUP PIPE
	stop_servers
	rm -rf "$COZI_WORK"
}

# The second pass has a session of its own: the terminal's Ctrl-C reaches the
# first pass alone, which ends everything in that session and then cleans up.
interrupted() {
	trap '' INT TERM HUP PIPE
	for stat in /proc/[0-9]*/stat; do
		read -r line <"$stat" || continue
		pid=${line%% *}
		set -- ${line##*) }
		[ "$4" = "$child" ] && kill "$pid"
	done 2>/dev/null
	wait "$child"
}

# stage SCRIPT MEGABYTES PACKAGES -- ARGS: the first pass.
stage() {
	script=$1 space=$2 packages=$3
	shift 4
	find_server
	install_packages $packages
	[ -n "$pg_config" ] && [ -e "$("$pg_config" --pgxs)" ] || {
		say "no PostgreSQL with server headers found${pg_config:+ by $pg_config}: set PG_CONFIG"
		exit 2
	}
	# who runs the second pass
	user=$(id -un) as_user=
	if [ "$(id -u)" -eq 0 ]; then
		user=nobody
		id postgres >/dev/null 2>&1 && user=postgres
		as_user="setpriv --reuid=$user --regid=$(id -g $user) --clear-groups"
	fi
	work_dir
	trap clean_up EXIT
	trap 'exit 129' HUP
	trap 'exit 130' INT
	trap 'exit 141' PIPE
	trap 'exit 143' TERM
	cd "$COZI_WORK" || exit 1
	$as_user "$pg_config" --version >/dev/null || {
		say "user $user may not run $pg_config"
		exit 2
	}
	mkdir cozi tmp
	tar -C "$root" -c --exclude=.git --exclude='*.o' --exclude='*.bc' --exclude='*.so' \
		--exclude=tmp_check --exclude=node_modules . | tar -C cozi --no-same-owner -x || exit 1
	chmod -R u+rwX cozi
	[ -z "$as_user" ] || chown -R "$user:" "$COZI_WORK"
	cd cozi || exit 1

	# what the caller's shell says about servers, makes and languages is not meant for this one
	# shellcheck disable=SC2046 # one word a variable
	unset MAKEFLAGS MFLAGS MAKELEVEL CDPATH LANGUAGE $(env | sed -n 's/^\(PG[A-Z]*\)=.*/\1/p')
	COZI_COMMIT=$(git -C "$root" log -1 --format=%s 2>/dev/null) && export COZI_COMMIT
	export COZI_WORK PG_CONFIG="$pg_config" TMPDIR="$COZI_WORK/tmp" LANG=C.UTF-8 LC_ALL=C.UTF-8
	$as_user setsid env --default-signal=INT,QUIT HOME="$COZI_WORK" "$script" "$@" &
	child=$!
	trap 'interrupted; exit 129' HUP
	trap 'interrupted; exit 130' INT
	trap 'interrupted; exit 141' PIPE
	trap 'interrupted; exit 143' TERM
	wait "$child"
	status=$?
	[ ! -e "$COZI_WORK/keep" ] || trap - EXIT
	return $status
}

# The second pass.

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
	# an installed cozi is not the one to be tested
	rm -f "$share"/extension/cozi* "$("$PG_CONFIG" --pkglibdir)"/cozi.so
	[ -e "$share/extension/pgtap.control" ] ||
		cp /usr/share/postgresql/*/extension/pgtap* "$share/extension/" 2>/dev/null || :
	export PATH PG_CONFIG
}

# Say how far a compilation is, from the lines that make prints.
count_files() {
	n=0
	while read -r line; do
		case $line in *' -c -o '*) n=$((n + 1)) ;; *) continue ;; esac
		if [ -t 2 ]; then
			printf '\r  compiled %d of %d files' $n "$1" >&2
		elif [ $((n % 25)) -eq 0 ]; then
			say "  compiled $n of $1 files"
		fi
	done
	[ ! -t 2 ] || say ''
}

# build [MAKE ARGS]: compile and install into the copy.
build() {
	relocate
	say "building cozi for $("$PG_CONFIG" --version)"
	{
		make -j"$(nproc)" with_llvm=no PG_CONFIG="$PG_CONFIG" "$@" all 2>&1 &&
			make -s with_llvm=no PG_CONFIG="$PG_CONFIG" install 2>&1 && : >"$COZI_WORK/built"
	} | tee "$COZI_WORK/build.log" | count_files "$(find src -name '*.c' | wc -l)"
	[ -e "$COZI_WORK/built" ] || {
		grep -v ' -c -o ' "$COZI_WORK/build.log"
		say "cozi did not build"
		return 1
	}
}

# The cluster that all servers are copies of.
initdb_once() {
	[ ! -e "$COZI_WORK/cluster" ] || return 0
	initdb -N -D "$COZI_WORK/cluster" -U postgres -A trust --no-locale -E UTF8 \
		>"$COZI_WORK/initdb.log" 2>&1 || {
		cat "$COZI_WORK/initdb.log"
		return 1
	}
}

# start [LINE...]: a new server, test/cozi.conf and the given lines its settings.
# Its data and its socket are in the directory $server, if set, else $COZI_WORK.
start() {
	server=${server:-$COZI_WORK}
	PGDATA=$server/data PGHOST=$server PGPORT=5432 PGUSER=postgres PGDATABASE=postgres
	export PGDATA PGHOST PGPORT PGUSER PGDATABASE
	rm -rf "$PGDATA"
	initdb_once || return
	cp -a "$COZI_WORK/cluster" "$PGDATA"
	{
		cat test/cozi.conf
		echo "unix_socket_directories = '$server'"
		for line in "$@"; do echo "$line"; done
	} >>"$PGDATA/postgresql.conf"
	rm -f "$server/server.log"
	pg_ctl -w -l "$server/server.log" start >/dev/null || {
		cat "$server/server.log"
		return 1
	}
}

stop() {
	pg_ctl -w -m immediate stop >/dev/null 2>&1 || :
}

# For tests that speak through node: its module pg is Debian's node-pg, or
# npm's beside a node that is not Debian's.
node_pg() {
	for NODE_PATH in "${NODE_PATH:-}" /usr/share/nodejs "$COZI_WORK/node/node_modules"; do
		export NODE_PATH
		case $NODE_PATH in
			"$COZI_WORK"*)
				npm install --silent --no-audit --no-fund --prefix "$COZI_WORK/node" pg \
					>"$COZI_WORK/npm.log" 2>&1 || cat "$COZI_WORK/npm.log" ;;
		esac
		node -e 'require("pg")' 2>/dev/null && return
	done
}
