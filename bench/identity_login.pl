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

# A key of each kind, made by the openssl command, and a token that it signs.
my $secret = 'super-secret-jwt-token-with-at-least-32-characters-long';
my $now = time;
my $payload = '{"iss":"https://issuer.example/auth/v1",'
  . '"sub":"11111111-1111-4111-8111-111111111111",'
  . '"aud":"authenticated","exp":' . ($now + 3600) . ',"iat":' . $now
  . ',"email":"somebody@example.org","phone":"",'
  . '"app_metadata":{"provider":"email","providers":["email"]},"user_metadata":{},'
  . '"role":"authenticated","aal":"aal1","session_id":"d4b5e0a2-6b1e-4c09-a9a8-3b1a4b7c9d00",'
  . '"is_anonymous":false}';
my $dir = $ENV{COZI_WORK} || '/tmp';

# The part of a token that is signed.
sub unsigned
{
	my ($alg, $kid, $claims) = @_;
	my $header =
	  $kid ? qq({"alg":"$alg","typ":"JWT","kid":"$kid"}) : qq({"alg":"$alg","typ":"JWT"});
	return encode_base64url($header) . '.' . encode_base64url($claims // $payload);
}

sub sign_hs256
{
	my $part = unsigned('HS256', undef, shift);
	return $part . '.' . encode_base64url(hmac_sha256($part, $secret));
}
my $hs256 = sign_hs256($payload);
$dbh->do('SELECT cozi.add_secret(?)', undef, $secret);

sub generate
{
	my ($file, $options) = @_;
	system("openssl genpkey $options -out $dir/$file 2>>$dir/openssl.log") == 0
	  or die 'openssl genpkey';
	return "$dir/$file";
}

# The signature of a text by the key in a file.
sub sign
{
	my ($key, $text) = @_;
	open(my $h, '>', "$dir/part") or die $!;
	print $h $text;
	close $h;
	my $signature = qx(openssl dgst -sha256 -sign $key $dir/part 2>>$dir/openssl.log);
	return $signature;
}

# ES256: the point, and a signature in DER made r and s
my $ec = generate('ec.pem', '-algorithm EC -pkeyopt ec_paramgen_curve:P-256');
my $spki = qx(openssl pkey -in $ec -pubout -outform DER 2>>$dir/openssl.log);
my $point = sprintf '"x":"%s","y":"%s"',
  map { encode_base64url($_) } substr($spki, -64, 32), substr($spki, -32);
my $es_part = unsigned('ES256', 'es');
my $der = sign($ec, $es_part);
my $r_len = ord substr $der, 3, 1;
my @pair = (substr($der, 4, $r_len), substr($der, 6 + $r_len));
for (@pair) { s/^\x00+//; $_ = ("\x00" x (32 - length)) . $_; }
my $es256 = $es_part . '.' . encode_base64url(join '', @pair);
$dbh->do('SELECT cozi.add_key(?)', undef, qq({"kty":"EC","crv":"P-256","kid":"es",$point}));

# RS256
my $rsa = generate('rsa.pem', '-algorithm RSA -pkeyopt rsa_keygen_bits:2048');
my ($modulus) = qx(openssl rsa -in $rsa -noout -modulus 2>>$dir/openssl.log) =~ /=([0-9A-F]+)/;
my $rs_part = unsigned('RS256', 'rs');
my $rs256 = $rs_part . '.' . encode_base64url(sign($rsa, $rs_part));
$dbh->do('SELECT cozi.add_key(?)', undef,
	sprintf '{"kty":"RSA","kid":"rs","e":"AQAB","n":"%s"}', encode_base64url(pack 'H*', $modulus));

# What one would write without cozi: pgjwt's way, pgcrypto below

$dbh->do($_) for (<<'END', <<'END', <<'END');
CREATE FUNCTION url_decode(data text) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
WITH t AS (SELECT translate(data, '-_', '+/') AS trans),
     rem AS (SELECT length(t.trans) % 4 AS remainder FROM t)
SELECT decode(t.trans
              || CASE WHEN rem.remainder > 0 THEN repeat('=', (4 - rem.remainder)) ELSE '' END,
              'base64') FROM t, rem
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

# OpenSSL alone.
sub openssl_hmac
{
	my $bytes = length($hs256) - 44;
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

# Tokens that the server has not seen: each run has new ones.
my $unseen = 1000;
my $serial = 0;
$dbh->do('CREATE TABLE tokens (token text)');

sub new_tokens
{
	my @tokens;
	for (1 .. $unseen)
	{
		my $jti = $serial++;
		push @tokens, "('" . sign_hs256($payload =~ s/\}$/,"jti":"$jti"}/r) . "')";
	}
	$dbh->do('TRUNCATE tokens');
	$dbh->do('INSERT INTO tokens VALUES ' . join ', ', @tokens);
	$dbh->do('SELECT count(token) FROM tokens');
	return;
}

sub per_token
{
	my ($expression) = @_;
	my $before = cpu();
	$dbh->do("SELECT count($expression) FROM tokens");
	return (cpu() - $before) / $unseen;
}

sub first_login { new_tokens(); return per_token('cozi.login(token)'); }

Bench::title('login(), a token of ' . length($hs256) . ' bytes as Supabase signs them');
Bench::pair(
	'first login, HS256',
	runs => 9,
	unit => 'us',
	floor => 10,
	new => [ 'cozi.login', \&first_login ],
	old => [ 'plpgsql and pgcrypto', sub { per_token("sql_login(token, '$secret')") } ]);
Bench::pair(
	'first login, HS256, beside OpenSSL',
	runs => 5,
	unit => 'us',
	new => [ 'cozi.login', \&first_login ],
	old => [ 'HMAC alone', \&openssl_hmac ]);
Bench::pair(
	'verification, ES256, beside OpenSSL',
	runs => 5,
	unit => 'us',
	new => [ 'cozi.check_token', sub { per_call("cozi.check_token('$es256')", 2000) } ],
	old => [ 'ECDSA verify alone', \&openssl_es256 ]);
my %token = (HS256 => $hs256, RS256 => $rs256, ES256 => $es256);
foreach my $alg (qw(HS256 RS256 ES256))
{
	Bench::pair(
		"the same token again, $alg",
		runs => 7,
		unit => 'us',
		new => [ 'cozi.login', sub { per_call("cozi.login('$token{$alg}')") } ],
		old => [ 'first login, HS256', \&first_login ]);
}
$dbh->do("SELECT cozi.revoke_user('22222222-2222-4222-8222-222222222222')");
Bench::pair(
	'the same token again, with revocations',
	runs => 7,
	unit => 'us',
	new => [ 'cozi.login', sub { per_call("cozi.login('$hs256')") } ],
	old => [ 'first login, HS256', \&first_login ]);
$dbh->do('TRUNCATE cozi.revocations');

# A session that has read no key: of three, and of a thousand.
sub first_of_session
{
	my $session = Bench::connect();
	$session->do('SELECT 1');
	$session->do("SELECT cozi.uid()");
	my $file = "/proc/$session->{pg_pid}/schedstat";
	my $spent = sub { open(my $h, '<', $file) or die $!; return (split ' ', scalar <$h>)[0] / 1e6 };
	my $before = $spent->();
	$session->do("SELECT cozi.check_token('$es256')");
	my $took = $spent->() - $before;
	$session->disconnect;
	return $took;
}
my @few = map { first_of_session() } 1 .. 7;
$dbh->do(sprintf q(SELECT cozi.add_key('{"kty":"EC","crv":"P-256","kid":"k%d",%s}')), $_, $point)
  foreach 1 .. 1000;
my @many = map { first_of_session() } 1 .. 7;
$dbh->do(q(DELETE FROM cozi.jwks WHERE kid ~ '^k[0-9]+$'));
Bench::title('the first login of a session, ES256, milliseconds');
printf "%-44s %s\n%-44s %s\n", 'of three keys', Bench::spread('%.2f', @few),
  'of a thousand keys', Bench::spread('%.2f', @many);

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
