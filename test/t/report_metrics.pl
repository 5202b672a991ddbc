# openmetrics(): what Prometheus reads, and what it must never read.
#
# Parsed here, line by line, whatever is installed; checked by promtool, scraped by
# Debian's prometheus-postgres-exporter and by Debian's prometheus where they are.
# What is started listens on the loopback alone.

use strict;
use warnings;

use Cwd qw(getcwd);
use FindBin;
use lib $FindBin::Bin;
use HTTP::Tiny;
use IPC::Run ();
use JSON::PP ();
use House;
use PostgreSQL::Test::Utils;
use Test::More;
use Warm;
use Time::HiRes qw(time usleep);

my $files = getcwd() . '/doc/prometheus';
my @running;

sub have { return !system("command -v $_[0] >/dev/null 2>&1"); }

# The samples of a text, as name{labels} => value, and the types of its families.
# Whatever is not the text format 0.0.4 is a failure.
sub parse
{
	my ($text, $what) = @_;
	my (%sample, %type, @wrong);
	my ($name, $label) = (qr/[a-zA-Z_:][a-zA-Z0-9_:]*/, qr/[a-z]\w*="(?:[^"\\\n]|\\[\\"n])*"/);

	foreach my $line (split /\n/, $text)
	{
		if    ($line =~ /^# HELP ($name) \S.*\.$/) { push @wrong, $line if exists $type{$1} }
		elsif ($line =~ /^# TYPE ($name) (counter|gauge|histogram)$/)
		{
			push @wrong, $line if exists $type{$1};
			$type{$1} = $2;
		}
		elsif (
			$line =~ /^($name(?:\{$label(?:,$label)*\})?) (-?[0-9.]+(?:e[-+][0-9]+)?|[+-]Inf|NaN)$/)
		{
			push @wrong, "twice: $line" if exists $sample{$1};
			$sample{$1} = $2;
		}
		else { push @wrong, $line }
	}
	foreach my $sample (keys %sample)
	{
		my ($family) = $sample =~ /^(\w+)/;
		$family =~ s/_(bucket|sum|count)$// unless exists $type{$family};
		push @wrong, "no type: $sample" unless exists $type{$family};
		push @wrong, "no _total: $sample"
		  if ($type{$family} // '') eq 'counter' && $family !~ /_total$/;
	}
	is(join("\n", @wrong), '', "$what: every line is of the text format");
	return (\%sample, \%type);
}

sub check_by_promtool
{
	my ($text, $what) = @_;
  SKIP:
	{
		skip 'no promtool', 1 unless have('promtool');
		my ($out, $err) = ('', '');
		IPC::Run::run([ 'promtool', 'check', 'metrics' ], '<', \"$text\n", '>', \$out, '2>', \$err);
		is("$?$out$err", '0', "$what: promtool has no complaint");
	}
}

# A program on the loopback, until the end of the test.
sub start_program
{
	my ($log, @command) = @_;
	push @running, IPC::Run::start(\@command, '<', \undef, '>', $log, '2>&1');
	return;
}

# The page of a URL, asked for until it says that.
sub wait_for_page
{
	my ($url, $pattern) = @_;
	my $page = '';
	for (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		$page = HTTP::Tiny->new(timeout => 60)->get($url)->{content};
		return $page if $page =~ $pattern;
		usleep(100_000);
	}
	return $page;
}

my $node = Warm->new('metrics');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', <<'END');
shared_preload_libraries = 'pg_stat_statements,cozi'
max_replication_slots = 4
END
$node->start;
$node->safe_psql(
	'postgres',
	'CREATE EXTENSION pg_stat_statements; CREATE EXTENSION cozi;
	 CREATE ROLE monitor LOGIN IN ROLE pg_monitor; CREATE ROLE stranger LOGIN');

sub metrics
{
	my ($database, @options) = @_;
	return $node->safe_psql($database // 'postgres', 'SELECT cozi.openmetrics()', @options);
}

# The empty server, and a member of pg_monitor.
my $empty = metrics(undef, extra_params => [ '-U', 'monitor' ]);
my ($sample) = parse($empty, 'an empty server');
check_by_promtool($empty, 'an empty server');
is($sample->{'cozi_health_target_seconds{metric="query_time"}'},
	'0.05', 'a target of 50 ms is 0.05 seconds');
is( (grep { /^cozi_health_state/ } keys %$sample) + 0,
	$node->safe_psql('postgres', 'SELECT count(*) FROM cozi.targets'),
	'each target has a state');
my ($code, undef, $refusal) =
  $node->psql('postgres', 'SELECT cozi.openmetrics()', extra_params => [ '-U', 'stranger' ]);
like($refusal, qr/permission denied/, 'a role outside pg_monitor reads no metric');

# Histograms: what is known to have happened, at bounds that do not move.
$node->safe_psql('postgres', 'SELECT pg_stat_statements_reset(), cozi.latency_reset()');
$node->safe_psql('postgres', 'SELECT pg_sleep(0.06)') foreach 1 .. 3;
($code) = $node->psql('postgres', 'SELECT 1 / 0');
my ($busy) = parse(metrics(), 'a busy server');
my $bucket = 'cozi_statement_duration_seconds_bucket{datname="postgres",le=';
my @bounds = map { /le="(.*)"/ } grep { /^\Q$bucket\E/ } sort {
		 ($a =~ /le="\+Inf"/) - ($b =~ /le="\+Inf"/)
	  || (($a =~ /le="([0-9.]+)"/)[0] // 0) <=> (($b =~ /le="([0-9.]+)"/)[0] // 0)
} keys %$busy;
is( "@bounds",
	'0.0005 0.001 0.0025 0.005 0.01 0.025 0.05 0.1 0.2 0.5 1 2.5 5 10 +Inf',
	'the bounds of a histogram are fixed');
my @counts = map { $busy->{qq($bucket"$_"\})} } @bounds;
is("@counts", join(' ', sort { $a <=> $b } @counts), 'the counts of a histogram are cumulative');
is($busy->{'cozi_statement_duration_seconds_count{datname="postgres"}'},
	$counts[-1], 'the count of a histogram is its last bucket');
cmp_ok($counts[-1] - $counts[6], '>=', 3, 'three sleeps of 60 ms are above 0.05 seconds');
cmp_ok($busy->{'cozi_statement_duration_seconds_sum{datname="postgres"}'},
	'>=', 0.18, 'the sum of a histogram is in seconds');
is($busy->{'cozi_errors_total{datname="postgres",class="22",blame="client"}'},
	'1', 'an error is counted by its class');
check_by_promtool(metrics(), 'a busy server');

# What clients do adds no series (prometheus-community/postgres_exporter#549).
my $series = keys %{ (parse(metrics(), 'before many statements'))[0] };
$node->safe_psql('postgres', join ';', map { 'SELECT ' . join(', ', ("1 AS c$_") x $_) } 1 .. 60);
is(scalar(keys %{ (parse(metrics(), 'after many statements'))[0] }),
	$series, 'statements of 60 more shapes add no series');

# No text is read (CrunchyData/pgmonitor#489): reading a file that must not be read is logged.
my $texts = $node->data_dir . '/pg_stat_tmp/pgss_query_texts.stat';
my $unread = qr/could not read file "pg_stat_tmp\/pgss_query_texts/;
is(chmod(0, $texts), 1, 'the file of query texts must not be read');
my $before = -s $node->logfile;
metrics();
unlike(slurp_file($node->logfile, $before), $unread, 'a scrape reads no query text');
$node->psql('postgres', 'SELECT query FROM cozi.slow_queries LIMIT 1');
like(slurp_file($node->logfile, $before), $unread, 'reading a query text is noticed');
chmod 0600, $texts;

# Names that would break a line, and more databases than there are labels.
my $hostile = qq(a"b\\c\nd} 1 # é);
$node->safe_psql('postgres', <<"END");
CREATE DATABASE "a""b\\c\nd} 1 # é";
INSERT INTO cozi.targets VALUES (E'my "own"\\n\\\\ {{ metric', '<', 'Infinity', 3, 'B/s');
SELECT cozi.create_rate_limit('login:ip', 10, '1 min');
SELECT pg_create_physical_replication_slot('forgotten', true);
SELECT cozi.snapshot();
CREATE TABLE votes (post_id int, value int, created_at timestamptz);
SELECT cozi.create_board(E'hot "posts"\\n\\\\', 'votes', 'post_id', 'value');
INSERT INTO votes SELECT g % 9, 1, now() - g * interval '1 hour' FROM generate_series(1, 1000) g;
SELECT cozi.create_activity(E'who "votes"\\n' || n, 'votes', 'post_id')
FROM generate_series(1, 60) n;
END
$node->safe_psql('postgres', join '', map { "CREATE DATABASE tenant_$_;" } 1 .. 22);
my $many = metrics();
my ($labels) = parse($many, 'hostile names');
check_by_promtool($many, 'hostile names');
my %datname = map { /datname="((?:[^"\\]|\\.)*)"/ ? ($1 => 1) : () } keys %$labels;
is(scalar(keys %datname), 21,
	'twenty databases have labels of their own, and one is of all others');
ok($datname{'a\\"b\\\\c\\nd} 1 # é'}, 'a hostile name of a database is escaped');
ok($datname{'(other)'}, 'the databases without a label are summed up');
is($labels->{'cozi_rate_limit_calls_total{limit="login:ip",decision="denied"}'},
	'0', 'a named limit has its series');
is((grep { /^cozi_board_state/ } keys %$labels) + 0, 1, 'a board has its series');
is((grep { /^cozi_activity_state/ } keys %$labels) + 0, 50, 'fifty activities have their series');
is( join(' ', map { $labels->{$_} } grep { /^cozi_activity_daily/ } keys %$labels),
	join(' ', (9) x 50),
	'the daily users of an activity have a series');
is((grep { /metric="[dm]au"/ } keys %$labels) + 0, 0, 'activities are not among the targets');
is($labels->{'cozi_health_target_bytes_per_second{metric="my \\"own\\"\\n\\\\ {{ metric"}'},
	'+Inf', 'an infinite target is written as Prometheus reads it');

# Rules of targets: those that are shipped, and those of hostile names.
my $rules = $node->safe_psql('postgres', 'SELECT cozi.alert_rules()');
$node->safe_psql('postgres', q{DELETE FROM cozi.targets WHERE metric LIKE 'my%'});
is( $node->safe_psql('postgres', 'SELECT cozi.alert_rules()'),
	slurp_file("$files/alerts.yml"),
	'the rules that are shipped are equal to the targets');
my $rule_file = $node->basedir . '/rules.yml';
append_to_file($rule_file, $rules);
SKIP:
{
	skip 'no promtool', 2 unless have('promtool');
	command_like(
		[ 'promtool', 'check', 'rules', $rule_file ],
		qr/SUCCESS: 47 rules/,
		'promtool reads rules of hostile names');
	command_like([ 'promtool', 'test', 'rules', "$files/alerts_test.yml" ],
		qr/SUCCESS/, 'the rules fire at the targets, and not where health does not judge');
}

# A read-only transaction, and its locks.
my $locks = $node->safe_psql('postgres', <<'END');
BEGIN READ ONLY;
SELECT length(cozi.openmetrics()) > 1000 \g /dev/null
SELECT string_agg(DISTINCT mode, ' ') FROM pg_locks
WHERE pid = pg_backend_pid() AND locktype = 'relation';
COMMIT;
END
is($locks, 'AccessShareLock', 'metrics take no lock above ACCESS SHARE');
my $holder = House::session($node, 'postgres');
$holder->query_safe(
	'BEGIN; LOCK TABLE votes, "hot ""posts""
\\", "who ""votes""
1"');
is( $node->safe_psql(
		'postgres', q{SET lock_timeout = '100ms';
	SELECT cozi.openmetrics() <> ''}),
	't',
	'metrics wait for no lock');
$holder->query_safe('COMMIT');
$holder->quit;

# A standby.
$node->backup('base');
my $standby = Warm->new('metrics_standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby);
my $there = $standby->safe_psql('postgres', 'SELECT cozi.openmetrics()');
my ($on_standby) = parse($there, 'a standby');
check_by_promtool($there, 'a standby');
is($on_standby->{'cozi_in_recovery'}, '1', 'a standby says that it is one');
ok( exists $on_standby->{'cozi_replication_lag_bytes{kind="this server",name=""}'}
	  || (grep { /^cozi_replication_lag_bytes\{kind="this server"/ } keys %$on_standby),
	'a standby says how far it is behind');
ok( (   grep { /^cozi_replication_lag_bytes\{kind="standby",name="metrics_standby"/ }
		  keys %{ (parse(metrics(), 'a primary'))[0] }),
	'a primary says how far a standby is behind');
$standby->stop;

# Debian's exporter, and Debian's prometheus.
my ($socket, $port) = ($node->host, $node->port);
SKIP:
{
	skip 'no prometheus-postgres-exporter', 4 unless have('prometheus-postgres-exporter');
	my $listen = '127.0.0.1:' . PostgreSQL::Test::Cluster::get_free_port();
	local $ENV{DATA_SOURCE_NAME} = "host=$socket port=$port user=monitor dbname=postgres";
	start_program(
		$node->basedir . '/exporter.log', 'prometheus-postgres-exporter',
		"--web.listen-address=$listen", '--extend.query-path',
		"$files/exporter.yml", '--disable-default-metrics',
		'--disable-settings-metrics');
	my $page = wait_for_page("http://$listen/metrics", qr/^cozi_health_state/m);
	like(
		$page,
		qr/^cozi_statement_duration_seconds_bucket\{datname="postgres",.*le="0\.05"\} \d/m,
		'the exporter serves a histogram of statements');
	like(
		$page,
		qr/^cozi_transaction_duration_seconds_count\{datname="postgres"/m,
		'the exporter serves a histogram of transactions');
	like($page, qr/^$_/m, "the exporter serves $_")
	  foreach qw(cozi_health_value cozi_errors_total cozi_rate_limit_allowed_total
	  cozi_board_pending_rows cozi_activity_daily_users);
	like(
		$page,
		qr/^pg_exporter_user_queries_load_error\{.*\} 0$/m,
		'the exporter has no complaint about the queries');
	like($page, qr/^pg_exporter_last_scrape_error 0$/m, 'the exporter failed at no query');
}

SKIP:
{
	skip 'no prometheus', 3 unless have('prometheus') && have('python3');
	local %ENV = (
		%ENV,
		PGHOST => $socket,
		PGPORT => $port,
		PGDATABASE => 'postgres',
		PGUSER => 'monitor');
	my ($bridge, $web) = map { PostgreSQL::Test::Cluster::get_free_port() } 1 .. 2;
	start_program($node->basedir . '/bridge.log', "$files/bridge.py", $bridge);
	like(wait_for_page("http://127.0.0.1:$bridge/", qr/cozi_info/),
		qr/^cozi_info\{/m, 'the bridge serves the metrics');

	# A scrape may take as long as the interval, which is made of what one takes here.
	my $began = time;
	wait_for_page("http://127.0.0.1:$bridge/", qr/cozi_info/);
	my $interval = 1 + int(5 * (time - $began));
	my $rate_interval = 60 + 4 * $interval;
	append_to_file($node->basedir . '/prometheus.yml', <<"END");
global: {scrape_interval: ${interval}s, evaluation_interval: ${interval}s}
rule_files: ['$files/alerts.yml']
scrape_configs:
  - job_name: cozi
    static_configs: [{targets: ['127.0.0.1:$bridge']}]
END
	start_program(
		$node->basedir . '/prometheus.log',
		'prometheus',
		"--config.file=" . $node->basedir . '/prometheus.yml',
		"--storage.tsdb.path=" . $node->basedir . '/prometheus',
		"--web.listen-address=127.0.0.1:$web");
	my $query = "http://127.0.0.1:$web/api/v1/query?query=";
	like(wait_for_page("${query}cozi_info", qr/"result":\[\{/),
		qr/"server_version"/, 'prometheus scrapes the bridge');
	my $page =
	  HTTP::Tiny->new->get($query
		  . 'histogram_quantile(0.99%2C%20'
		  . 'cozi_statement_duration_seconds_bucket%7Bdatname%3D%22postgres%22%7D)')->{content};
	like($page, qr/"value":\[[0-9.]+,"[0-9.]+"\]/, 'prometheus reads a quantile of a histogram');

	# Each query of the dashboard, with its variables as Grafana fills them in.
	my $dashboard = JSON::PP::decode_json(slurp_file("$files/grafana.json"));
	my @panels = grep { $_->{targets} } @{ $dashboard->{panels} };
	cmp_ok(scalar @panels, '>', 10, 'the dashboard has panels');
	foreach my $panel (@panels)
	{
		my @empty;
		foreach my $expr (map { $_->{expr} } @{ $panel->{targets} })
		{
			$expr =~ s/\$__rate_interval/${rate_interval}s/g;
			$expr =~ s/\$(?:instance|datname)/.*/g;
			my $escaped = $expr =~ s/([^A-Za-z0-9])/sprintf '%%%02X', ord $1/ger;
			push @empty, $expr
			  if wait_for_page("$query$escaped", qr/"result":\[\{/) !~ /"result":\[\{/;
		}
		is(join("\n", @empty), '', "prometheus answers every query of the panel: $panel->{title}");
	}
	my %metric = map { $_ => 1 } map { /^(\w+)/ ? $1 : () } split /\n/, metrics() . "\n$there";
	my @unknown = grep { !$metric{$_} && !$metric{"${_}_bucket"} }
	  map { $_->{expr} =~ /(cozi_\w+)/g } map { @{ $_->{targets} } } @panels;
	is("@unknown", '', 'the dashboard names no metric that cozi does not write');
}

$_->kill_kill foreach @running;

# Nothing preloaded: what is known is there, and no histogram.
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->restart;
my $plain = metrics();
my ($without, $types) = parse($plain, 'nothing preloaded');
check_by_promtool($plain, 'nothing preloaded');
is($without->{cozi_preloaded}, '0', 'a server without the library says so');
is(join(' ', grep { $types->{$_} eq 'histogram' } keys %$types),
	'', 'there is no histogram without the library');
ok(exists $without->{'cozi_health_state{metric="connections"}'}, 'there is health without it');

$node->stop;
done_testing();
