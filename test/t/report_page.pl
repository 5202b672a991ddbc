# report_html() and report_diff(): a page of values that anybody may have written.
#
# The page is taken apart here, tag by tag: what is not on the lists below is a
# failure, wherever it stands.  Headless Chromium, where it is installed, shows the
# same page, light, dark and narrow.

use strict;
use warnings;

use Digest::SHA qw(sha256_base64);
use FindBin;
use lib $FindBin::Bin;
use IPC::Run ();
use House;
use PostgreSQL::Test::Utils;
use Test::More;
use Warm;

# What a page may consist of, and the values of its attributes.
my %tag = map { $_ => 1 } qw(html head meta title style body h1 h2 h3 p nav a section div span b
  small table thead tbody tr th td code pre details summary svg path text figure figcaption);
my %attribute = (
	'http-equiv' => qr/^Content-Security-Policy$/,
	'aria-hidden' => qr/^true$/,
	'aria-label' =>
	  qr/^(\d+ executions from 10 us to 100 s|users (of|by) \d+ [a-z ]+|retention of \d+ cohorts)$/,
	charset => qr/^utf-8$/,
	class => qr/^[a-z]+( [a-z]+)?$/,
	content => qr/^(width=device-width, initial-scale=1|no-referrer|default-src .*)$/,
	d => qr/^[MLHVhvz0-9. -]*$/,
	'fill-opacity' => qr/^[01]\.\d\d$/,
	href => qr/^#[a-z]+$/,
	id => qr/^[a-z]+$/,
	lang => qr/^en$/,
	name => qr/^(viewport|referrer)$/,
	preserveAspectRatio => qr/^none$/,
	role => qr/^img$/,
	'text-anchor' => qr/^(start|middle|end)$/,
	viewBox => qr/^[0-9 -]+$/,
	x => qr/^\d+$/,
	y => qr/^\d+$/);

# What is wrong with a page, and its text.
sub take_apart
{
	my ($page) = @_;
	my (@wrong, @open, $text);

	push @wrong, 'not ASCII' if $page =~ /[^\x20-\x7e\n\t]/;
	$page =~ s/^<!DOCTYPE html>\n// or push @wrong, 'no DOCTYPE';
	my ($style) = $page =~ m{<style>(.*?)</style>}s;
	my $hash = sha256_base64($style);
	$hash .= '=' while length($hash) % 4;
	push @wrong, 'the policy has another hash' if index($page, "style-src 'sha256-$hash';") < 0;
	push @wrong, 'the style asks for something' if $style =~ /url|import|</;
	$page =~ s{<style>.*?</style>}{<style></style>}s;

	while ($page =~ /\G(?:<(\/?)(\w+)((?:\s+[\w-]+="[^"<>]*")*)(\/?)>|([^<]+))/gc)
	{
		my ($close, $name, $attributes, $empty, $plain) = ($1, $2, $3, $4, $5);
		if (defined $plain)
		{
			$text .= $plain;
			push @wrong, "a character that is not escaped: $1"
			  if $plain =~
			  /(.{0,20}(?:[>"']|&(?!(?:amp|lt|gt|quot|ndash|hellip|#39|#x[0-9A-F]+);)))/;
			next;
		}
		$text .= ' ';
		push @wrong, "tag $name" unless $tag{$name};
		while ($attributes =~ /([\w-]+)="([^"]*)"/g)
		{
			push @wrong, "attribute $1=$2" unless $attribute{$1} && $2 =~ $attribute{$1};
		}
		if ($close)
		{
			my $top = pop @open // 'nothing';
			push @wrong, "</$name> closes $top" if $top ne $name;
		}
		elsif (!$empty && $name ne 'meta') { push @open, $name }
	}
	push @wrong, 'broken off at ' . substr($page, pos($page) // 0, 60)
	  if (pos($page) // 0) < length $page;
	push @wrong, "@open not closed" if @open;
	return ($text, @wrong);
}

sub is_harmless
{
	my ($page, $what) = @_;
	my ($text, @wrong) = take_apart($page);
	splice @wrong, 10 if @wrong > 10;
	is(join("\n", @wrong), '', "$what: every tag, attribute and character is one of ours");
	unlike($text, qr/Not shown/, "$what: no part is missing");
	cmp_ok(length $page, '<', 200_000, "$what: the page is smaller than 200 kB");
	return $text;
}

# The test, put to the test.
my $planted = "<!DOCTYPE html>\n<html><head><style></style></head><body>%s</body></html>\n";
foreach my $bad (
	'<script>x</script>',
	'<p onclick="x">y</p>',
	'<a href="http://x">y</a>',
	'<img src="x">',
	'<p>x', 'a " b', "a ' b", 'a & b', '<svg><path d="M0 javascript:x"/></svg>')
{
	my (undef, @wrong) = take_apart(sprintf $planted, $bad);
	cmp_ok(scalar(@wrong), '>', 1, "what is planted is found: $bad");
}

my $node = Warm->new('page');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', <<'END');
shared_preload_libraries = 'pg_stat_statements,cozi'
max_prepared_transactions = 4
pg_stat_statements.track_utility = on
END
$node->start;
$node->safe_psql(
	'postgres', 'CREATE EXTENSION pg_stat_statements; CREATE EXTENSION cozi;
	CREATE ROLE monitor LOGIN IN ROLE pg_monitor; CREATE ROLE partial LOGIN');

sub page
{
	return $node->safe_psql('postgres', $_[0] // 'SELECT cozi.report_html()', @_[ 1 .. $#_ ]);
}

is_harmless(page(), 'an empty server');
is_harmless(page(undef, extra_params => [ '-U', 'monitor' ]), 'an empty server, read by a monitor');

# Names, texts and sessions of an attacker.
my $evil = q{<script>alert(1)</script>"' onload=x --></style></pre><!-- &lt; {{x}} ${y}};
my $controls = join '', map { chr } 1 .. 8, 11 .. 31, 127;
(my $quoted = $evil) =~ s/'/''/g;
(my $name = substr $evil, 0, 60) =~ s/"/""/g;
my $attack = <<"END";
CREATE ROLE "$name" LOGIN;
CREATE SCHEMA "$name";
CREATE TABLE "$name"."$name" ("$name" int, created_at timestamptz, value int);
CREATE INDEX "a<b>" ON "$name"."$name" ("$name");
CREATE INDEX "a""c'" ON "$name"."$name" ("$name", value);
ALTER TABLE "$name"."$name" ENABLE ROW LEVEL SECURITY;
CREATE POLICY "<p>" ON "$name"."$name" USING (true);
GRANT ALL ON "$name"."$name" TO PUBLIC;
CREATE TABLE votes (post_id int, value int, created_at timestamptz);
SELECT cozi.create_board('<board> & "x"', 'votes', 'post_id', 'value');
SELECT cozi.create_rate_limit('login:ip', 5, '1 min');
CREATE TABLE seen (user_id text, created_at timestamptz);
INSERT INTO seen SELECT g % 400 || '<b>', now() - (g * g % 2800) * interval '1 hour'
FROM generate_series(1, 4000) g;
SELECT cozi.create_activity('<i> "' || n, 'seen', 'user_id') FROM generate_series(1, 25) n;
CREATE POLICY "<q>" ON "<i> ""1" USING (1 / 0 = 1);
ALTER TABLE "<i> ""1" ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
INSERT INTO cozi.targets VALUES ('$quoted', '<', 1, 1, '<unit>');
UPDATE cozi.targets SET unit = '<i>' WHERE metric = 'cache_hit';
END
$node->safe_psql('postgres', $attack);
$node->safe_psql('postgres', 'SELECT cozi.snapshot()');
my $shape = 0;    # pg_stat_statements tells shapes apart, not comments

foreach
  my $text ($evil, $controls, 'x' x 1_000_000, $controls x 30_000, "\xe2\x80\xae abc \xc3\xa9")
{
	# the text is a comment, and a name, which pg_stat_statements keeps as they are
	(my $comment = $text) =~ s{[*]/}{}g;
	my $file = $node->basedir . '/attack.sql';
	unlink $file;
	my $select = "SELECT /* $comment */ " . '1, ' x ++$shape . "count(*) FROM pg_class;\n";
	append_to_file($file, $select x 7);
	$node->safe_psql('postgres', "\\i $file");
}
$node->psql(
	'postgres', "SELECT pg_sleep(60) /* $evil */",
	extra_params => [ '-v', 'x=1' ],
	connstr => $node->connstr('postgres') . " options='-c statement_timeout=1s'");
$node->psql('postgres', "SELECT 1 / 0 /* $evil */");
my $session = House::session($node, 'postgres');
$session->query_safe("SET application_name = '<img src=x onerror=alert(1)>'");
$session->query_safe(qq{BEGIN; LOCK TABLE "$name"."$name" /* $evil */});
my $waiting = House::session($node, 'postgres', on_error_stop => 0);
$waiting->query_until(qr/go/, qq{\\echo go\nSELECT /* $evil */ * FROM "$name"."$name";\n});
$node->poll_query_until('postgres', "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted")
  or die 'nobody waits';
$node->safe_psql('postgres', 'SELECT cozi.snapshot()');
$node->safe_psql('postgres', "SELECT /* $evil */ count(*) FROM pg_class") foreach 1 .. 6;
$node->safe_psql('postgres', 'SELECT cozi.snapshot()');

my $text = is_harmless(page(), 'an attacked server');
like(
	$text,
	qr/&lt;script&gt;alert\(1\)&lt;\/script&gt;/,
	'the text of an attacker is shown as it is');
like(
	$text,
	qr/&lt;img src=x onerror=alert\(1\)&gt;/,
	'the name of an application is shown as it is');
like($text, qr/&#x2401;&#x2402;/, 'control characters are shown by their pictures');
like(
	$text,
	qr/\[U\+202E\] abc &#xE9;/,
	'a character that turns the direction is shown by its number');
like($text, qr/&lt;board&gt;/, 'a board is shown');
like($text, qr/&lt;i&gt; &quot;&quot;1/, 'an activity is shown');
like(
	$text,
	qr/Users of the day.*Stickiness.*Retention.*100%.*Engagement/s,
	'an activity is shown in pictures');
like($text, qr/policy_always_true/, 'advice is shown');
is_harmless(page('SELECT cozi.report_html(NULL, now())'), 'a window of an attacked server');
$node->safe_psql('postgres', 'SELECT cozi.record_advice()');
like(
	is_harmless(
		page('SELECT cozi.report_html((SELECT min(taken_at) FROM cozi.snapshots))'),
		'a window that a snapshot begins'),
	qr/New in the window: \d+ \(.*policy_always_true/,
	'a page says which findings are new in its window');
is_harmless(
	page(
		"SELECT cozi.report_diff(s.a, s.b, s.b) FROM (SELECT min(taken_at), max(taken_at)
		FROM cozi.snapshots) s(a, b)"),
	'a comparison of an attacked server');

# As many rows as there may be, of texts as long as they may be.
my $flood = $node->basedir . '/flood.sql';
foreach my $columns (1 .. 40)
{
	my $select = 'SELECT ' . '2, ' x $columns . '1 /* ' . q{<"'&>} x 2000 . " */;\n";
	append_to_file($flood, $select x 6);
}
foreach my $number (1 .. 60)
{
	append_to_file($flood, qq(CREATE TABLE "t$number) . '<' x 55 . qq(" (i int);\n));
}
append_to_file($flood, "GRANT ALL ON ALL TABLES IN SCHEMA public TO PUBLIC;\n");
$node->safe_psql('postgres', "\\i $flood");
is_harmless(page(), 'a flooded server');

# Locks: none above ACCESS SHARE, and none that is waited for; nothing is written.
my $locks = page(<<'END');
BEGIN READ ONLY;
SET lock_timeout = '100ms';
SELECT cozi.report_html() ~ 'Not shown' OR cozi.report_diff(now() - interval '2 h', now()
    - interval '1 h') ~ 'Not shown';
SELECT string_agg(DISTINCT mode, ' ') FROM pg_locks
WHERE pid = pg_backend_pid() AND locktype = 'relation';
COMMIT;
END
is($locks, "f\nAccessShareLock", 'a page takes no lock above ACCESS SHARE, and waits for none');
$session->query_safe('COMMIT');
$session->quit;
$waiting->quit;

# A role that may read some of it.
$node->safe_psql('postgres', <<'END');
GRANT USAGE ON SCHEMA cozi TO partial;
DO $$ DECLARE f regprocedure; BEGIN
    FOR f IN SELECT oid FROM pg_proc WHERE pronamespace = 'cozi'::regnamespace
             AND (proname ~ '^(_html|_svg|_report|_ms|_span|_count|_instant|report_html)') LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO partial', f);
    END LOOP;
END $$;
GRANT SELECT ON cozi.boards TO partial;
END
my ($partly, @wrong) = take_apart(page(undef, extra_params => [ '-U', 'partial' ]));
is("@wrong", '', 'a page that is not whole is of our tags alone');
like(
	$partly,
	qr/Not shown: health.*Role &quot;partial&quot; may not read it: permission denied/s,
	'a part that the caller may not read is named');
like($partly, qr/There is no board|&lt;board&gt;/, 'a part that the caller may read is there');
unlike($partly, qr/alert\(1\)/, 'what the caller may not see is not on the page');

# A standby, and a server that has preloaded nothing.
$node->backup('base');
my $standby = Warm->new('page_standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby);
$text = is_harmless($standby->safe_psql('postgres', 'SELECT cozi.report_html()'), 'a standby');
like($text, qr/, a standby; read by/, 'a standby says that it is one');
like($text, qr/A standby counts for itself/, 'a standby says what it cannot know');
$standby->stop;

# Ten holes, planted in a database of their own.
$node->safe_psql('postgres', 'CREATE DATABASE planted');
$node->safe_psql('planted', 'CREATE EXTENSION pg_stat_statements; CREATE EXTENSION cozi');
$node->safe_psql('planted', 'SELECT pg_stat_statements_reset(), cozi.latency_reset()');
$node->safe_psql('planted', slurp_file("$FindBin::Bin/report_planted.sql"));
$node->cool;    # the database has settings for new sessions
$node->safe_psql('planted', q{
	INSERT INTO cozi.table_size_blocks
	VALUES (now() - interval '2 days', '{public.posts}', '{1000000}', '{10000}');
	SELECT cozi.snapshot()});
# The page is of what ran since then: a statement that a sample has found at work.
ok( $node->poll_query_until(
		'planted', q{SELECT bool_or(EXISTS (SELECT FROM cozi.waits
			WHERE event_type = 'CPU' AND query LIKE 'SELECT bool_or(%'))
		FROM (SELECT id FROM posts ORDER BY md5(body || id) LIMIT 10) p}),
	'a statement is at work when a sample is taken');
my $ten = $node->safe_psql('planted', 'SELECT cozi.report_html()');
$text = is_harmless($ten, 'ten holes');
like($ten, qr/<path class="(?:cpu|io|lwlock)" d="M0\.0 0h[0-9.]+v10h-[0-9.]+z"\/>/,
	'what a statement waited for is drawn beside it');
like($text, qr/CPU \d+ %/, 'what a statement waited for is said beside it');
like($text, qr/Growing fastest.*\bposts\b.*What autovacuum/s,
	'a table that snapshots saw to grow is on the page');
like($ten, qr/class="verdict.*<section id="found">.*<section id="health">/s,
	'the verdict comes first, then what was found');
like($text, qr/\b$_\b/, "a hole is found: $_")
  foreach qw(rls_off policy_always_true view_bypasses_rls missing_fk_index duplicate_index
  invalid_constraint sequence_near_end table_without_key);
like($text, qr/forgotten.*inactive/s, 'a hole is found: a slot that nobody uses');
like($text, qr/ORDER BY md5\(body/, 'a hole is found: a query without its index');

my $chromium = (grep { !system("command -v $_ >/dev/null 2>&1") } qw(chromium chromium-browser))[0];
SKIP:
{
	skip 'chromium is shown the page with --long only', 1 unless $ENV{COZI_LONG};
	skip 'no chromium', 1 unless $chromium;
	my $file = $node->basedir . '/report.html';
	append_to_file($file, page() . "\n");
	my @browser = (
		'env', 'HOME=' . $node->basedir, $chromium, qw(--headless=new --no-sandbox --disable-gpu
		  --disable-dev-shm-usage --hide-scrollbars --disable-background-networking),
		'--user-data-dir=' . $node->basedir . '/chromium');
	my %view = (light => [ 1200, 1 ], dark => [ 1200, 0 ], narrow => [ 390, 1 ]);
	my %size;
	foreach my $view (sort keys %view)
	{
		my ($width, $scheme) = @{ $view{$view} };
		my $png = $node->basedir . "/$view.png";
		my ($out, $err) = ('', '');
		IPC::Run::run(
			[
				@browser, "--blink-settings=preferredColorScheme=$scheme",
				"--window-size=$width,1400", "--screenshot=$png",
				"file://$file"
			],
			'<',
			\undef,
			'>',
			\$out,
			'2>',
			\$err,
			IPC::Run::timeout(300));
		$size{$view} = slurp_file($png) if -e $png;
		like($size{$view} // '', qr/^\x89PNG.{20000}/s, "Chromium shows the page, $view");
		unlike($err, qr/Refused to|Content Security Policy/, "the policy refuses nothing, $view");
	}
	isnt($size{light}, $size{dark}, 'the page has a dark side');
	my ($dom, $err) = ('', '');
	IPC::Run::run([ @browser, '--dump-dom', "file://$file" ],
		'<', \undef, '>', \$dom, '2>', \$err, IPC::Run::timeout(300));
	unlike($dom, qr/<(?:script|img|iframe|link|object)/i,
		'Chromium finds no script and no address');
}

$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->restart;
$text = is_harmless(page(), 'nothing preloaded');
like($text, qr/pg_stat_statements is not loaded/, 'a page says why there are no statements');
$node->stop;
done_testing();
