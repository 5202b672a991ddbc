# A split that is run by a superuser on the table of a stranger, whose names, checks,
# triggers, types and indexes are all meant to run code: none of it runs with more than
# the stranger's rights.  Each step is taken back, the swap too, with what was written
# after it; the plan is made again, and finished; and then a tool runs it once more,
# backwards and forwards, without a look at the errors.
use strict;
use warnings;
use House;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Plan;

my %node;
foreach my $name (qw(here south))
{
	$node{$name} = House::server($name);
	$node{$name}->init(allows_streaming => 'logical');
	$node{$name}
	  ->append_conf('postgresql.conf', "fsync = off\nwal_retrieve_retry_interval = 100ms");
	$node{$name}->start;
	$node{$name}->safe_psql(
		'postgres', q{CREATE EXTENSION cozi;
		CREATE ROLE "mal""lory"; CREATE SCHEMA "my ""$step$" AUTHORIZATION "mal""lory";
		CREATE TABLE loot (who name, what text); GRANT INSERT ON loot TO PUBLIC;
		SET search_path = "my ""$step$"; SET ROLE "mal""lory";
		CREATE FUNCTION loot(what text) RETURNS void LANGUAGE plpgsql
			AS 'BEGIN IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
				INSERT INTO public.loot VALUES (current_user, what); END IF; END';
		CREATE FUNCTION evil(what text) RETURNS boolean IMMUTABLE LANGUAGE plpgsql
			AS 'BEGIN PERFORM "my ""$step$".loot(what); RETURN true; END';
		CREATE DOMAIN word AS int CHECK ("my ""$step$".evil('domain'));
		CREATE FUNCTION evil_trigger() RETURNS trigger LANGUAGE plpgsql AS
			'BEGIN PERFORM "my ""$step$".evil(TG_NAME);
			RETURN CASE TG_OP WHEN ''DELETE'' THEN OLD ELSE NEW END; END'});
}
my $here = $node{here};
plan skip_all => 'no postgres_fdw in this server'
  unless $here->safe_psql('postgres',
	"SELECT count(*) FROM pg_available_extensions WHERE name = 'postgres_fdw'");
my ($host, $port, $user) =
  ($node{south}->host, $node{south}->port, $node{south}->safe_psql('postgres', 'SELECT user'));
my $table = q{"p'st"" $step$ %s {far}"};
my $literal = $table =~ s/'/''/gr;
my $shard = $table =~ s/"$/_shard_1"/r;
$here->safe_psql('postgres', <<"SQL");
CREATE EXTENSION postgres_fdw;
CREATE SERVER "so'uth" FOREIGN DATA WRAPPER postgres_fdw
    OPTIONS (host '$host', port '$port', dbname 'postgres');
SELECT cozi.grant_owner('"mal""lory"');
ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO PUBLIC;
ALTER DEFAULT PRIVILEGES FOR ROLE "mal""lory" GRANT ALL ON TABLES TO PUBLIC;
SET search_path = "my ""\$step\$";
SET ROLE "mal""lory";
CREATE TABLE $table ("i'd" word NOT NULL, "au""th\$step\$or" bigint NOT NULL, n int, v int,
    PRIMARY KEY ("i'd", "au""th\$step\$or", n), CONSTRAINT "c\$owner\$'" CHECK (evil('check')),
    UNIQUE (n, "i'd", "au""th\$step\$or"))
    PARTITION BY HASH ("au""th\$step\$or");
CREATE INDEX "x ON ONLY USING btree (v); CREATE ROLE pwned; --" ON $table ((v + evil('i')::int));
RESET ROLE;
SELECT cozi.create_shards('$literal', 2);
SET ROLE "mal""lory";
ALTER TABLE $table ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE $shard ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY p ON $table USING (evil('policy'));
CREATE TRIGGER each_row BEFORE INSERT OR DELETE ON $table FOR EACH ROW
    EXECUTE FUNCTION evil_trigger();
CREATE TRIGGER of_shard BEFORE INSERT ON $shard FOR EACH ROW EXECUTE FUNCTION evil_trigger();
INSERT INTO $table SELECT i, i, 0, 0 FROM generate_series(1, 1000) i;
RESET ROLE;
CREATE ROLE copier LOGIN REPLICATION BYPASSRLS;
GRANT USAGE ON SCHEMA "my ""\$step\$" TO copier;
GRANT SELECT ON $shard TO copier;
SQL
my $schema = q{"my ""$step$"};
my $old = $shard =~ s/"$/_old"/r;
my $call = sprintf(
	"cozi.split_plan('%s.%s', 'so''uth', '%s')", $schema,
	$shard =~ s/'/''/gr, ($here->connstr('postgres') . ' user=copier') =~ s/'/''/gr);
my (undef, undef, $refusal) = $here->psql('postgres', "SELECT $call");
like($refusal, qr/mal""lory"", the owner .*, has no user mapping for server "so'uth"/,
	'a plan is refused where the owner of the table could not read the other half');
(undef, undef, my $own) = $here->psql('postgres',
	"CREATE USER MAPPING FOR PUBLIC SERVER \"so'uth\"; SELECT $call");
like($own, qr/triggers, policies or rules of its own.*HINT:  DROP TRIGGER of_shard ON/s,
	'a plan is refused for a shard that has triggers of its own, which would be lost');
$here->safe_psql('postgres', "DROP USER MAPPING FOR PUBLIC SERVER \"so'uth\"");
my ($hint) = $refusal =~ /HINT:\s+(.*)/;
$hint =~ s/user '...', password '...'/user '$user', password_required 'false'/;
$here->safe_psql('postgres', "$hint CREATE USER MAPPING FOR CURRENT_USER SERVER \"so'uth\"");

my $path = "SET search_path = $schema; SET ROLE \"mal\"\"lory\"";
$here->safe_psql('postgres', "$path; DROP TRIGGER of_shard ON $shard");

# The owner's own rights are enough to read and write all of it.
sub owner
{
	return $here->safe_psql('postgres', "$path; $_[0]");
}
my $tables = q{SELECT string_agg(format('%s %s %s', relname, relrowsecurity, relacl), ', '
	ORDER BY relname) FROM pg_class WHERE relkind IN ('r', 'p', 'f', 'i', 'I')
	AND relnamespace = '"my ""$step$"'::regnamespace};
my $digest = sprintf q{SELECT cozi.run_as_owner('%1$s.%2$s', $$SELECT d::text
	FROM cozi.shard_digest('%1$s.%2$s') d$$)}, $schema, $table =~ s/'/''/gr;
sub looted
{
	is($_->safe_psql('postgres', 'SELECT who, what FROM loot'),
		'', "nothing runs with more than the owner's rights on " . $_->name . " $_[0]")
	  foreach $here;
	return;
}
my $before = $here->safe_psql('postgres', $tables);
my $plan = Plan->new({ here => $here, "so'uth" => $node{south} }, $call);
is($plan->ask('SELECT count(*) FROM plan WHERE statement IS NULL'),
	0, 'the plan has every statement in full');
my ($compare, $swap) = $plan->steps("phase IN ('compare', 'swap')");
ok($plan->run(phase => $_), "phase $_ runs") foreach qw(prepare copy);
looted('in the copy');
is( owner(q{SELECT count(*) FROM pg_class c, aclexplode(c.relacl) a
		WHERE c.relname ~ '_(new|log|digest|shard_3)$' AND a.grantee <> c.relowner}),
	0, 'default privileges are not left to the copy');
is( owner(q{SELECT count(*), bool_and(relrowsecurity) FROM pg_class
		WHERE relname ~ 'shard_1_new$' AND relowner = current_user::regrole}),
	'1|t', 'the copy is of the owner, and closed as the shard is');
my ($status, $error) = $plan->step($swap, 'statement');
like($error, qr/have not been compared/, 'there is no swap without a comparison');
owner("UPDATE $table SET v = 1");
ok($plan->run(phase => $_), "phase $_ runs") foreach qw(compare swap);
looted('in the swap');
owner(<<"SQL");
CREATE TRIGGER of_shard BEFORE INSERT ON $old FOR EACH ROW EXECUTE FUNCTION evil_trigger();
CREATE TRIGGER truncated AFTER TRUNCATE ON $old EXECUTE FUNCTION evil_trigger();
CREATE CONSTRAINT TRIGGER late AFTER INSERT ON $old DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION evil_trigger();
SQL
owner(qq{UPDATE $table SET v = 2 WHERE "i'd" < 500; DELETE FROM $table WHERE "i'd" > 990;
	INSERT INTO $table SELECT 2000, i, 0, 3 FROM generate_series(1, 50) i});
my $rows = $here->safe_psql('postgres', $digest);
foreach my $step (reverse $plan->steps('undo IS NOT NULL'))
{
	($status, $error) = $plan->step($step, 'undo');
	is($status, 0, "step $step is taken back") or diag($error);
}
is($here->safe_psql('postgres', $digest), $rows, 'no row is lost on the way back');
is($here->safe_psql('postgres', $tables), $before, 'tables and indexes are what they were');
is( $here->safe_psql('postgres',
		'SELECT (SELECT count(*) FROM pg_replication_slots),
		(SELECT count(*) FROM pg_publication)'),
	'0|0', 'nothing of the split is left');
looted('on the way back');

# Once more, to the end.
owner("DROP TRIGGER of_shard ON $shard; DROP TRIGGER truncated ON $shard;
	DROP TRIGGER late ON $shard");
ok($plan->run, 'a split that was taken back is run again');
is($here->safe_psql('postgres', $digest), $rows, 'no row is lost in the second split');
looted('in the second split');

# A tool that looks at no error: undo after the end, and the plan once more.
foreach my $column (qw(undo statement))
{
	my @steps = $plan->steps("$column IS NOT NULL");
	$plan->step($_, $column) foreach $column eq 'undo' ? reverse @steps : @steps;
	is($here->safe_psql('postgres', $digest),
		$rows, "every $column of a finished plan, errors ignored, loses no row");
}
owner("UPDATE $table SET v = v + 1");
pass('the table is written after that');
is( $here->safe_psql(
		'postgres', q{SELECT (SELECT count(*) FROM pg_replication_slots), (SELECT count(*)
		FROM pg_publication), (SELECT count(*) FROM pg_trigger WHERE tgname ~ '^split'),
		(SELECT count(*) FROM pg_class WHERE relname ~ '_(new|old|log|digest)$'
			AND relnamespace = '"my ""$step$"'::regnamespace)}),
	'0|0|0|0', 'nothing is left of the plan that was run twice');
is($_->safe_psql('postgres', "SELECT count(*) FROM pg_roles WHERE rolname = 'pwned'"),
	0, 'a name is a name on ' . $_->name) foreach values %node;
looted('at the end');
$_->stop foreach values %node;
done_testing();
