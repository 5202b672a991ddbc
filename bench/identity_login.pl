# Logging in, and asking who is.
# conf: shared_preload_libraries = 'cozi'
use strict;
use warnings;
use Bench;
use Digest::SHA  qw(hmac_sha256);
use MIME::Base64 qw(encode_base64 encode_base64url decode_base64);

my $dbh = Bench::connect();
$dbh->do('CREATE EXTENSION cozi');
$dbh->do('CREATE EXTENSION pgcrypto');

# Tokens

my $secret = 'super-secret-jwt-token-with-at-least-32-characters-long';
my $payload = sprintf(
	'{"iss":"https://issuer.example/auth/v1","sub":"11111111-1111-4111-8111-111111111111","aud":"authenticated",'
	  . '"exp":%d,"iat":%d,"email":"somebody@example.org","phone":"","app_metadata":{"provider":"email","providers":["email"]},'
	  . '"user_metadata":{},"role":"authenticated","aal":"aal1","session_id":"d4b5e0a2-6b1e-4c09-a9a8-3b1a4b7c9d00","is_anonymous":false}',
	time + 3600, time);
my $part = encode_base64url('{"alg":"HS256","typ":"JWT"}') . '.' . encode_base64url($payload);
my $hs256 = $part . '.' . encode_base64url(hmac_sha256($part, $secret));
$dbh->do('SELECT cozi.add_secret(?)', undef, $secret);

# ES256 by the openssl command: a key, its point, a signature in DER made r and s
my $dir = $ENV{COZI_WORK} || '/tmp';
system("openssl ecparam -name prime256v1 -genkey -noout -out $dir/ec.pem 2>$dir/ec.log") == 0
  or die 'openssl ecparam';
my $spki = qx(openssl ec -in $dir/ec.pem -pubout -outform DER 2>>$dir/ec.log);
my ($x, $y) = (substr($spki, -64, 32), substr($spki, -32));
my $es_part =
  encode_base64url('{"alg":"ES256","typ":"JWT","kid":"es"}') . '.' . encode_base64url($payload);
open(my $h, '>', "$dir/part") or die $!;
print $h $es_part;
close $h;
my $der = qx(openssl dgst -sha256 -sign $dir/ec.pem $dir/part 2>>$dir/ec.log);
my ($r, $s) = $der =~ /^\x30.\x02(.)/s
  ? do
{
	my $rl = ord(substr($der, 3, 1));
	(substr($der, 4, $rl), substr($der, 6 + $rl));
  }
  : die 'not a DER signature';
for ($r, $s) { s/^\x00+//; $_ = ("\x00" x (32 - length)) . $_; }
my $es256 = $es_part . '.' . encode_base64url($r . $s);
$dbh->do(
	'SELECT cozi.add_key(?)',
	undef,
	sprintf(
		'{"kty":"EC","crv":"P-256","kid":"es","x":"%s","y":"%s"}',
		encode_base64url($x), encode_base64url($y)));

# What one would write without cozi: pgjwt's way, pgcrypto below

$dbh->do($_) for (<<'END', <<'END', <<'END');
CREATE FUNCTION url_decode(data text) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
WITH t AS (SELECT translate(data, '-_', '+/') AS trans),
     rem AS (SELECT length(t.trans) % 4 AS remainder FROM t)
SELECT decode(t.trans || CASE WHEN rem.remainder > 0 THEN repeat('=', (4 - rem.remainder)) ELSE '' END, 'base64') FROM t, rem
$$
END
CREATE FUNCTION url_encode(data bytea) RETURNS text LANGUAGE sql IMMUTABLE AS $$
SELECT translate(encode(data, 'base64'), E'+/=\n', '-_')
$$
END
CREATE FUNCTION sql_login(token text, secret text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    parts text[] := regexp_split_to_array(token, '\.');
    header jsonb := convert_from(url_decode(parts[1]), 'utf8')::jsonb;
    payload jsonb;
BEGIN
    IF array_length(parts, 1) <> 3 OR header->>'alg' <> 'HS256'
       OR parts[3] <> url_encode(hmac(parts[1] || '.' || parts[2], secret, 'sha256')) THEN
        RAISE EXCEPTION 'invalid token' USING ERRCODE = '28000';
    END IF;
    payload := convert_from(url_decode(parts[2]), 'utf8')::jsonb;
    IF payload->>'sub' IS NULL OR to_timestamp((payload->>'exp')::float8) < now() THEN
        RAISE EXCEPTION 'invalid token' USING ERRCODE = '28000';
    END IF;
    PERFORM set_config('request.jwt.claims', payload::text, true);
    RETURN payload->>'sub';
END $$
END

# Microseconds of the backend's CPU time a call, the rows' own cost taken off:
# n rows in one statement.
my $pid = $dbh->{pg_pid};

sub cpu
{
	open(my $stat, '<', "/proc/$pid/schedstat") or die "/proc/$pid/schedstat: $!";
	return (split ' ', scalar <$stat>)[0] / 1e3;
}

sub rows
{
	my ($expression, $n) = @_;
	my $before = cpu();
	$dbh->do("SELECT count($expression) FROM generate_series(1, $n)");
	return (cpu() - $before) / $n;
}
my %empty;

sub per_call
{
	my ($expression, $n) = @_;
	$n ||= 20_000;
	$empty{$n} ||= Bench::median(map { rows('1', $n) } 1 .. 5);
	return rows($expression, $n) - $empty{$n};
}
$dbh->do('SET max_parallel_workers_per_gather = 0');

# OpenSSL alone

sub openssl_hmac
{
	my $bytes = length($part);
	my $out = qx(openssl speed -seconds 1 -hmac sha256 -bytes $bytes 2>&1);
	$out =~ /Doing .*?: (\d+) .* in ([\d.]+)s/ or die $out;
	return $2 * 1e6 / $1;
}

sub openssl_es256
{
	my $out = qx(openssl speed -seconds 1 ecdsap256 2>&1);
	$out =~ /Doing 256 bits verify.*?: (\d+) .* in ([\d.]+)s/ or die $out;
	return $2 * 1e6 / $1;
}

Bench::title('login(), a token of ' . length($hs256) . ' bytes as Supabase signs them');
Bench::pair(
	'login, HS256',
	runs => 7,
	unit => 'us',
	floor => 10,
	new => [ 'cozi.login', sub { per_call("cozi.login('$hs256')") } ],
	old => [ 'plpgsql and pgcrypto', sub { per_call("sql_login('$hs256', '$secret')", 2000) } ]);
Bench::pair(
	'login, HS256, beside OpenSSL',
	runs => 5,
	unit => 'us',
	new => [ 'cozi.login', sub { per_call("cozi.login('$hs256')") } ],
	old => [ 'HMAC alone', \&openssl_hmac ]);
Bench::pair(
	'login, ES256, beside OpenSSL',
	runs => 5,
	unit => 'us',
	new => [ 'cozi.login', sub { per_call("cozi.login('$es256')", 2000) } ],
	old => [ 'ECDSA verify alone', \&openssl_es256 ]);

# Who is it, half a million times

$dbh->begin_work;
$dbh->do('SELECT cozi.login(?)', undef, $hs256);
$dbh->do("SELECT set_config('request.jwt.claims', ?, true)", undef, $payload);

# 32 calls a row: one would drown in what the row costs
sub nanoseconds
{
	my ($expression) = @_;
	return 1000 / 32 * per_call('num_nonnulls(' . join(', ', ($expression) x 32) . ')', 50_000);
}

Bench::title('who is it, nanoseconds a call');
Bench::pair(
	'uid()',
	runs => 5,
	unit => 'ns',
	new => [ 'cozi.uid()', sub { nanoseconds('cozi.uid()') } ],
	old => [
		"current_setting()::jsonb->>'sub'",
		sub { nanoseconds("(current_setting('request.jwt.claims', true)::jsonb->>'sub')::uuid") }
	]);
Bench::pair(
	'claim()',
	runs => 5,
	unit => 'ns',
	new => [ "cozi.claim('role')", sub { nanoseconds("cozi.claim('role')") } ],
	old => [
		"current_setting()::jsonb->>'role'",
		sub { nanoseconds("current_setting('request.jwt.claims', true)::jsonb->>'role'") }
	]);
$dbh->rollback;
