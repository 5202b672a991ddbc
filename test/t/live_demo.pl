# The gateway of demo/live: two viewers listen, one of them writes, the server is killed
# while votes run, and the board equals a recount.  With COZI_LONG the page itself is
# opened in a headless Chromium, and its buttons are pressed.
#
# needs: node-pg, and chromium with --long
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use House;
use HTTP::Tiny;
use IO::Socket::INET;
use IPC::Run ();
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $found = !system('node -e \'require("pg")\' >/dev/null 2>&1');
plan skip_all => 'no node with pg' unless $found;

my $secret = 'a secret of the tests, with 32 bytes or more';
my $demo = "$FindBin::Bin/../../demo/live";
my $node = PostgreSQL::Test::Cluster->new('live');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\nmax_connections = 40\n");
$node->start;
$node->command_ok(
	[
		'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-v', "secret=$secret", '-f', "$demo/schema.sql",
		'-d', $node->connstr('postgres')
	],
	'the demo has its schema');

my ($log, $err) = ('', '');
my $gateway;
{
	local %ENV = (
		%ENV,
		PGHOST => $node->host,
		PGPORT => $node->port,
		PGDATABASE => 'postgres',
		PGDATA => $node->data_dir,
		COZI_LOG => $node->logfile,
		COZI_SECRET => $secret);
	$gateway = IPC::Run::start([ 'node', "$demo/gateway.js" ],
		'<', \undef, '>', \$log, '2>', \$err, IPC::Run::timeout(180));
}
$gateway->pump until $log =~ m{(http://127\.0\.0\.1:(\d+)/)};
my ($url, $port) = ($1, $2);
my $http = HTTP::Tiny->new(timeout => 120);

sub post
{
	my ($path, $body, $token, %headers) = @_;
	%headers = ('X-Cozi' => 'demo') unless %headers;
	$headers{Authorization} = "Bearer $token" if $token;
	return $http->post("$url$path", { headers => \%headers, content => encode_json($body // {}) });
}

# A viewer: curl would do, but perl is here.
sub viewer
{
	my ($token) = @_;
	my $out = '';
	my $program = 'use IO::Socket::INET; $| = 1;
		my $s = IO::Socket::INET->new(PeerAddr => "127.0.0.1", PeerPort => shift) or die;
		print $s "GET /events" . (@ARGV ? "?token=$ARGV[0]" : "") .
			" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
		print while <$s>';
	my $run = IPC::Run::start([ $^X, '-e', $program, $port, $token // () ],
		'<', \undef, '>', \$out, IPC::Run::timeout(180));
	return { run => $run, out => \$out };
}

sub hears
{
	my ($viewer, $what) = @_;
	$viewer->{run}->pump until ${ $viewer->{out} } =~ $what;
	return 1;
}

sub token
{
	return decode_json($http->get("${url}token?name=$_[0]")->{content})->{token};
}

my ($alice, $bob) = (token('alice'), token('bob'));
my @viewers = map { viewer($_) } $alice, $bob, undef;
hears($_, qr/event: server/) foreach @viewers;

# Comments: who may see them hears of them.
is(post('comment', { post => 1, body => 'only me', visibility => 'private' }, $alice)->{status},
	200, 'a viewer writes a private comment');
is(post('comment', { post => 1, body => 'for all' }, $alice)->{status},
	200, 'a viewer writes a public comment');
ok(hears($_, qr/"body":"for all"/), 'every viewer hears of a public comment') foreach @viewers;
like(${ $viewers[0]{out} }, qr/"body":"only me"/, 'the author hears of a private comment');
unlike(${ $viewers[1]{out} }, qr/only me/, 'another viewer does not hear of it');
unlike(${ $viewers[2]{out} }, qr/only me/, 'a viewer who is nobody does not hear of it');

# What is refused
is(post('comment', { post => 1, body => 'x' })->{status}, 400, 'nobody writes no comment');
is(post('comment', { post => 1, body => 'x' }, "$alice.")->{status},
	400, 'a token that is no token is refused');
is(post('vote', { post => 1, value => 1000 }, $alice)->{status}, 400, 'a vote of 1000 is refused');
is(post('kill', {}, undef, 'Content-Type' => 'text/plain')->{status},
	404, 'a page of another site kills nothing');
my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port);
print $socket "GET /token?name=alice HTTP/1.1\r\nHost: evil.example\r\n\r\n";
like(scalar <$socket>, qr/ 403 /, 'the gateway answers to no other name');
close $socket;
is($http->get("${url}gateway.js")->{status}, 404, 'the gateway shows its page, and no other file');

# Votes move the page; a kill is survived.
is(post('voters', { on => JSON::PP::true })->{status}, 200, 'voters vote');
${ $viewers[2]{out} } = '';
ok(hears($viewers[2], qr/(event: counts.*){5}/s), 'counts move');
my $killed = post('kill');
is($killed->{status}, 200, 'the server is killed, and starts again') or diag $killed->{content};
ok(hears($viewers[2], qr/"state":"down".*"state":"up"/s), 'viewers are told');
${ $viewers[2]{out} } = '';
ok(hears($viewers[2], qr/(event: counts.*){5}/s), 'counts move again');
is(post('comment', { post => 2, body => 'after' }, $bob)->{status}, 200, 'a comment is written');
ok(hears($_, qr/"body":"after"/), 'every viewer hears of it, a kill later') foreach @viewers;
my $verified = decode_json(post('verify')->{content});
is($verified->{rows}, 0, 'the board equals a recount');
cmp_ok($verified->{votes}, '>', 20, "votes were cast: $verified->{votes}");
$_->{run}->kill_kill(grace => 0) foreach @viewers;

my $chromium = (grep { !system("command -v $_ >/dev/null 2>&1") } qw(chromium chromium-browser))[0];
SKIP:
{
	skip 'chromium is shown the page with --long only', 1 unless $ENV{COZI_LONG};
	skip 'no chromium', 1 unless $chromium;
	my $profile = $node->basedir . '/chromium';
	my $shown = '';
	local $ENV{HOME} = $node->basedir;
	IPC::Run::run([ 'node', "$FindBin::Bin/live_demo.js", $chromium, $profile, $url ],
		'>', \$shown, IPC::Run::timeout(170));
	is($shown, <<'END', 'the page in Chromium moves, survives a kill, and ends with no row');
posts: 4
alice: up
comments: 5 0
moving: true
killed: away
back: true
bob: false
verified: verify_board: 0 rows
END
}
$gateway->kill_kill(grace => 1);
$node->_update_pid(1);
$node->stop('immediate');
is($err, '', 'the gateway has nothing to complain of');
done_testing();
