# The hostile owner: random DDL, triggers, functions, casts, domains, indexes and
# policies on everything that this role owns, while others vote, fold, read, dump
# and restore.  No privilege is gained, no session changed, no table of others
# stalled, and the server does not crash.  Ten seconds; ten minutes with COZI_LONG.
# COZI_PRELOAD='' preloads nothing: voters fold, and no worker.
use strict;
use warnings;
use House;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use IPC::Run;

my $seconds = $ENV{COZI_LONG} ? 600 : 10;
my $preload = $ENV{COZI_PRELOAD} // 'cozi';
my $node = House::server('hostile');
$node->init;
$node->append_conf('postgresql.conf',
	"shared_preload_libraries = '$preload'\nautovacuum_naptime = 1\nlog_min_messages = warning
log_error_verbosity = verbose\nlog_line_prefix = '%m [%p] %q%u %a '\n");
$node->start;
my $tmp = $PostgreSQL::Test::Utils::tmp_check;
srand($ENV{COZI_SEED} // 42);

$node->safe_psql(
	'postgres', q{
	CREATE EXTENSION cozi;
	CREATE ROLE attacker LOGIN; CREATE ROLE victim LOGIN; CREATE ROLE voter LOGIN;
	CREATE ROLE accomplice LOGIN;
	GRANT accomplice TO attacker;
	SELECT count(*) FROM unnest('{attacker,victim,accomplice}'::regrole[]) r, cozi.grant_owner(r);
	CREATE SCHEMA att AUTHORIZATION attacker; CREATE SCHEMA app AUTHORIZATION victim;
	GRANT USAGE ON SCHEMA cozi TO voter; GRANT ALL ON SCHEMA att TO accomplice;
	GRANT USAGE ON SCHEMA att, app TO voter;
	SET ROLE victim;
	CREATE TABLE app.votes (post int, u bigint, value int DEFAULT 1,
		created_at timestamptz DEFAULT now(), PRIMARY KEY (post, u));
	GRANT SELECT, INSERT, UPDATE, DELETE ON app.votes TO voter;
	SELECT cozi.create_board('hot', 'app.votes', 'post', 'value');
	GRANT SELECT ON app.hot, app.hot_live TO voter;
	SET ROLE attacker;
	CREATE TABLE att.votes (post text, u int, value int DEFAULT 1,
		created_at timestamptz DEFAULT now(), tags text[] DEFAULT '{a}');
	GRANT SELECT, INSERT, UPDATE, DELETE ON att.votes TO voter;
	CREATE TABLE att.parts (post int, created_at timestamptz DEFAULT now())
		PARTITION BY LIST (post);
	CREATE TABLE att.parts_1 PARTITION OF att.parts FOR VALUES IN (1);
	GRANT INSERT ON att.parts TO voter;
	SELECT cozi.create_board('b', 'att.votes', 'post', 'value');
	SELECT cozi.create_board('bt', 'att.votes', 'post', scope => 'tags');
	SELECT cozi.create_board('bp', 'att.parts', 'post');
	GRANT SELECT ON att.b, att.b_live, att.bt, att.bp TO voter;});

# What the attacker's code does where it gets to run.
my @bodies = (
	q{IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
		THEN ALTER ROLE attacker SUPERUSER; END IF;},
	q{PERFORM set_config('search_path', 'att, pg_catalog', false);
	PERFORM set_config('cozi.attacked', current_user, false);},
	q{PERFORM set_config('role', 'attacker', false);},
	q{RAISE 'poison';},
	q{PERFORM pg_sleep(20);},
	q{BEGIN LOOP PERFORM pg_sleep(1); END LOOP; EXCEPTION WHEN query_canceled THEN NULL; END;},
	q{PERFORM cozi.fold();},
	q{PERFORM cozi.logout();},
	q{PERFORM 1 / (random() * 2)::int;});
my @names = ('votes', 'b', 'bt', 'bp', 'b_live', 'parts', 'parts_1', 'other');
sub pick { my (@of) = @_; return $of[ int rand @of ]; }

sub attack
{
	my $t = 'att.' . pick(@names);
	my $n = int rand 6;
	my $body = pick(@bodies);
	return pick(
		"CREATE OR REPLACE FUNCTION att.f$n(bigint) RETURNS bigint IMMUTABLE
			LANGUAGE plpgsql AS \$f\$ BEGIN $body RETURN \$1; END \$f\$",
		"CREATE OR REPLACE FUNCTION att.t$n() RETURNS trigger
			LANGUAGE plpgsql AS \$f\$ BEGIN $body RETURN NEW; END \$f\$",
		"CREATE OR REPLACE FUNCTION att.ok$n(text) RETURNS bool IMMUTABLE
			LANGUAGE plpgsql AS \$f\$ BEGIN $body RETURN true; END \$f\$",
		"CREATE OR REPLACE FUNCTION att.cmp(text, text) RETURNS int IMMUTABLE
			LANGUAGE plpgsql AS \$f\$ BEGIN $body RETURN 0; END \$f\$",
		"CREATE OPERATOR CLASS att.oc FOR TYPE text USING btree AS OPERATOR 1 pg_catalog.<,
		OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >, FUNCTION 1 att.cmp(text, text)",
		"CREATE INDEX ON att.b (item att.oc)",
		"CREATE INDEX i$n ON $t (att.f$n(ups))",
		"CREATE INDEX ON att.b (heat) WHERE att.ok$n(item)",
		"DROP INDEX att.i$n",
		"CREATE UNIQUE INDEX ON $t (ups)",
		"CREATE TRIGGER t$n BEFORE INSERT OR UPDATE ON $t FOR EACH ROW EXECUTE FUNCTION att.t$n()",
		"DROP TRIGGER t$n ON $t",
		"CREATE RULE r$n AS ON INSERT TO $t DO INSTEAD NOTHING",
		"CREATE DOMAIN att.d$n AS text CHECK (att.ok$n(VALUE))",
		"ALTER TABLE att.votes ALTER post TYPE att.d$n",
		"CREATE CAST (text AS int) WITH INOUT AS IMPLICIT",
		"CREATE POLICY p$n ON $t USING (att.ok$n('x'))",
		"ALTER TABLE $t ENABLE ROW LEVEL SECURITY",
		"ALTER TABLE $t FORCE ROW LEVEL SECURITY",
		"ALTER TABLE $t DISABLE ROW LEVEL SECURITY",
		"CREATE OR REPLACE VIEW att.b_live AS SELECT item, ups, downs, heat FROM att.b
			WHERE att.ok$n('x')",
		"ALTER TABLE $t ADD COLUMN x$n int DEFAULT att.f$n(1)",
		"ALTER TABLE $t DROP COLUMN value",
		"ALTER TABLE $t RENAME TO other",
		"ALTER TABLE att.other RENAME TO b",
		"ALTER TABLE $t ALTER ups TYPE text",
		"ALTER TABLE $t ALTER heat TYPE numeric",
		"ALTER TABLE $t RENAME ups TO up",
		"ALTER TABLE $t ADD CHECK (ups < $n) NOT VALID",
		"ALTER TABLE $t SET UNLOGGED",
		"ALTER TABLE $t SET LOGGED",
		"ALTER TABLE $t OWNER TO accomplice",
		"ALTER TABLE $t OWNER TO attacker",
		"REASSIGN OWNED BY attacker TO accomplice",
		"REASSIGN OWNED BY accomplice TO attacker",
		"ALTER TABLE $t DISABLE TRIGGER ALL",
		"ALTER TABLE $t ENABLE TRIGGER ALL",
		"ALTER TABLE att.votes DISABLE TRIGGER USER",
		"DROP TABLE $t",
		"DROP VIEW att.b_live CASCADE",
		"DROP TABLE $t CASCADE",
		"CREATE TABLE att.other (item text, ups bigint, downs bigint, heat float8)",
		"ALTER TABLE att.other INHERIT att.b",
		"CREATE TYPE att.ty AS (item text, ups bigint, downs bigint, heat float8)",
		"ALTER TABLE att.b OF att.ty",
		"SECURITY LABEL ON TABLE $t IS 'x'",
		"SET session_replication_role = replica",
		"ALTER EVENT TRIGGER cozi_kept_ddl DISABLE",
		"INSERT INTO att.votes (post, u) SELECT md5(random()::text), g
			FROM generate_series(1, 50) g",
		"INSERT INTO att.votes (post, u) SELECT string_agg(md5(random()::text), ''), 1
			FROM generate_series(1, 200) g",
		"INSERT INTO att.votes (post, u, created_at)
			VALUES ('future', 1, now() + random() * interval '2 s')",
		"INSERT INTO att.b VALUES ('x', 1, 1, 'NaN')",
		"DELETE FROM att.b",
		"TRUNCATE att.votes",
		"TRUNCATE att.b",
		"SELECT cozi.create_board('b', 'att.votes', 'post', 'value')",
		"SELECT cozi.create_board('bt', 'att.votes', 'post', scope => 'tags')",
		"SELECT cozi.drop_board('att.b')",
		"SELECT cozi.rebuild_board('att.b')",
		"SELECT cozi.set_half_life('att.b', '1 hour')",
		"SELECT cozi.fold('att.b')",
		"SELECT cozi.fold('app.hot')",
		"SELECT cozi.drop_board('app.hot')",
		"SELECT * FROM cozi.kept_state",
		"CREATE TABLE IF NOT EXISTS att.votes (post text, u int, value int DEFAULT 1,
			created_at timestamptz DEFAULT now(), tags text[] DEFAULT '{a}')",
		"ALTER TABLE att.parts DETACH PARTITION att.parts_1",
		"ALTER TABLE att.parts ATTACH PARTITION att.parts_1 FOR VALUES IN (1)",
		"BEGIN; LOCK TABLE $t IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(0.5); COMMIT",
		"BEGIN; SELECT cozi.fold(); SELECT pg_sleep(0.5); ROLLBACK",
		"ALTER SCHEMA att RENAME TO att2",
		"ALTER SCHEMA att2 RENAME TO att");
}

# The internal errors of the log, each with its CONTEXT and STATEMENT, but for those
# that the server raises itself: where the DDL of two sessions of one owner meets, or
# DDL meets a dump or autovacuum; TRUNCATE meets GRANT, which locks no table and writes
# the same row of pg_class (seen without cozi).  Cozi's event triggers name themselves
# in the CONTEXT of an internal error, and what else of cozi runs is called by name.
sub internal_errors
{
	my ($text) = @_;
	my @found;
	foreach my $entry (split /^(?=.*?\] (?:\S+ \S* )?(?:ERROR|FATAL|PANIC|WARNING|LOG):)/m, $text)
	{
		my ($who) = $entry =~ /^.*?\] (.*?)(?:ERROR|FATAL):\s+XX\d\d\d: / or next;
		my ($statement) = $entry =~ /STATEMENT: +(.*)/;
		my $ddl = ($statement // '') =~ /^(?:ALTER|CREATE|DROP|GRANT|REASSIGN|REVOKE|SECURITY)\b/
		  || $entry =~ /tuple concurrently updated/ && $statement =~ /^TRUNCATE\b/;
		next
		  if $entry !~ /\bcozi\b|_cozi|cozi_/
		  && ( $who =~ /^attacker / && $ddl
			|| $who =~ / pg_dump $/
			|| $entry =~ /CONTEXT:.*automatic (?:vacuum|analyze) of table "postgres\.att\./);
		push @found, $entry;
	}
	return @found;
}

# Does a dump succeed?  It is known in the log by its name.
sub dumps
{
	local $ENV{PGAPPNAME} = 'pg_dump';
	return system('pg_dump', '--lock-wait-timeout=3s', '-f', "$tmp/dump.sql",
		'-d', $node->connstr('postgres')) == 0;
}

# Everybody at once, each in a session of their own.
my %script = (
	attacker => [ map { "$tmp/attack$_.sql" } 1 .. 2 ],
	voter => ["$tmp/vote.sql"]);

sub attacks
{
	my ($file) = @_;
	open my $f, '>', $file or die $!;
	# whatever was dropped, there is something to attack
	print $f "CREATE TABLE IF NOT EXISTS att.votes (post text, u int, value int DEFAULT 1,"
	  . " created_at timestamptz DEFAULT now(), tags text[] DEFAULT '{a}');\n",
	  "SELECT cozi.create_board('b', 'att.votes', 'post', 'value');\n",
	  "SELECT cozi.create_board('bt', 'att.votes', 'post', scope => 'tags');\n",
	  "GRANT ALL ON ALL TABLES IN SCHEMA att TO voter;\n";
	print $f attack() . ";\n" for 1 .. 60;
	close $f;
	return;
}
append_to_file(
	$script{voter}[0], q{
\set post random(1, 50)
\set u random(1, 1000000000)
INSERT INTO app.votes VALUES (:post, :u, 1) ON CONFLICT DO NOTHING;
UPDATE app.votes SET value = -value WHERE post = :post AND u % 5 = :u % 5;
SELECT count(*) FROM app.hot_live;
SELECT * FROM cozi.top('app.hot', 5);
});
my ($in, $out, $err) = ('', '', '');
my $bench = IPC::Run::start(
	[
		'pgbench', '-n', '-U', 'voter', '-c', '2', '-R', '100', '-T', $seconds,
		'-f', $script{voter}[0], '-h', $node->host, '-p', $node->port, 'postgres'
	],
	'<',
	\$in,
	'>',
	\$out,
	'2>',
	\$err);

my $superuser = House::session($node, 'postgres', on_error_stop => 0);
my $end = time + $seconds;
my ($path, $role, $dumps) = ('', '', 0);
while (time < $end)
{
	my @running;
	foreach my $file (@{ $script{attacker} })
	{
		attacks($file);
		push @running,
		  IPC::Run::start(
			[ 'psql', '-X', '-q', '-U', 'attacker', '-f', $file, '-d', $node->connstr('postgres') ],
			'<', \undef, '>', '/dev/null', '2>', '/dev/null', IPC::Run::timeout(180));
	}
	foreach my $sql (
		'SELECT cozi.fold()',
		q{SELECT * FROM cozi.top('att.b', 3)},
		'SELECT * FROM cozi.boards',
		q{SELECT cozi.fold('app.hot')},
		q{SELECT * FROM cozi.verify_board('att.b')})
	{
		# The superuser neither reads a view of the attacker nor writes into a table of
		# the attacker: views, triggers, defaults and domains run as who uses them.
		$superuser->query("SET statement_timeout = '30s'; $sql") if $superuser->{run}->pumpable;
	}
	# where the attacker holds a lock, a dump fails instead of waiting for ever
	$dumps += dumps();
	# functions that catch the cancel hang the sessions of their owner, too
	$node->safe_psql(
		'postgres', q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity
		WHERE usename = 'attacker' AND query_start < now() - interval '2 s'});
	sleep 2;
	$node->safe_psql(
		'postgres', q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity
		WHERE usename = 'attacker'});
	foreach my $psql (@running) { $psql->finish; }
	# what the attacker has left behind is in the way of no dump
	$dumps += dumps();
}
$bench->finish;
unlike(
	$err,
	qr/server closed the connection|FATAL|aborted/,
	'no vote, no reader of the victim met an error');
is( $superuser->query('SHOW search_path'),
	'"$user", public',
	'the search path of the superuser is what it was');
is($superuser->query('SELECT current_user = session_user'),
	't', 'the role of the superuser is what it was');
is($superuser->query(q{SELECT coalesce(current_setting('cozi.attacked', true), '')}),
	'', 'no setting of the attacker is in the session of the superuser');
$superuser->quit;
cmp_ok($dumps, '>', 0, "dumps succeeded in between ($dumps)");
is( $node->safe_psql(
		'postgres',
		q{SELECT string_agg(rolname, ',') FROM pg_roles WHERE rolsuper AND rolname <> current_user}
	),
	'',
	'nobody became a superuser');
is( $node->safe_psql(
		'postgres',
		q{SELECT count(*) FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.member
			WHERE r.rolname IN ('attacker', 'voter') AND m.roleid::regrole::text <> 'accomplice'}
	),
	0,
	'nobody became a member of another role');
$node->safe_psql('postgres', q{SELECT cozi.fold('app.hot')});
is( $node->safe_psql(
		'postgres',
		q{SELECT state, coalesce(last_error, '') FROM cozi.boards WHERE board = 'app.hot'::regclass}
	),
	'ok|',
	'the board of the victim is not stalled');
is($node->safe_psql('postgres', q{SELECT count(*) FROM cozi.verify_board('app.hot')}),
	0, 'the board of the victim equals a recount');
is($node->safe_psql('postgres', q{SELECT count(*) >= 1 FROM cozi.boards}),
	't', 'the view of boards reads, whatever was done');
my $log = slurp_file($node->logfile);
unlike(
	$log,
	qr/PANIC|TRAP|was terminated by signal|relcache reference leak|snapshot.* leak/i,
	'the log knows of no crash and of no leak');
is(join("\n", internal_errors($log)), '', 'the log knows of no internal error');
$node->stop;
done_testing();
