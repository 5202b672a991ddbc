# Tokens that nobody with the key has made, for each algorithm, before and after
# the server has verified a good token of it.  The law: all are the same error.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use MIME::Base64 qw(decode_base64url encode_base64url);
use Token;
use Test::More;
use Warm;

my $node = Warm->new('forge_token')->anew;
$node->init;
$node->append_conf('postgresql.conf',
	"max_parallel_workers_per_gather = 2\nshared_preload_libraries = 'cozi'\n");
$node->start;
my $parallel =
  $node->safe_psql('postgres', 'SHOW server_version_num') >= 160000
  ? 'debug_parallel_query'
  : 'force_parallel_mode';
my $workers =
  "SET $parallel = on; SET parallel_leader_participation = off; SET parallel_setup_cost = 0";

$node->safe_psql('postgres', <<'END');
CREATE EXTENSION cozi;
CREATE ROLE app LOGIN;
GRANT USAGE ON SCHEMA cozi TO app;
CREATE FUNCTION public.who() RETURNS text LANGUAGE plpgsql STABLE PARALLEL SAFE AS
    'BEGIN RETURN coalesce(cozi.uid_text(), ''nobody''); END';
END

# (stdout, stderr) of a script that the app runs
sub run_script
{
	my ($sql) = @_;
	my ($out, $err) = ('', '');
	$node->psql(
		'postgres', $sql,
		stdout => \$out,
		stderr => \$err,
		on_error_stop => 0,
		extra_params => [ '-U', 'app' ]);
	return ($out, $err);
}

# Each algorithm has a key, which cozi knows, and a thief a key of the same kind.
my @algorithms = qw(HS256 HS384 HS512 RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 ES512 EdDSA);
my %key = map { $_ => new_key($_) } @algorithms;
my %thief = map { $_ => new_key($_) } @algorithms;
$node->safe_psql('postgres', "SELECT cozi.add_key('$_->{jwk}')") for values %key;

# The algorithms one would confuse with it: of its family, of its digest, EdDSA.
sub neighbours
{
	my ($alg) = @_;
	my $family = substr($alg, 0, 2);
	my $digest = $alg eq 'EdDSA' ? '512' : substr($alg, 2);
	return grep { $_ ne $alg && /^(?:$family|..$digest|EdDSA)/ } @algorithms;
}

# Tokens of an algorithm that nobody with its key has made, by what was done.
sub forgeries
{
	my ($alg) = @_;
	my $key = $key{$alg};
	my $claims = sprintf('{"sub":"mallory","exp":%d}', time + 600);
	my ($header, $payload, $signature) = split(/\./, sign_with($key, $claims =~ s/mallory/ann/r));
	my $forged_payload = encode_base64url($claims);
	my $named = sub { sprintf('{"alg":"%s","kid":"%s"%s}', $_[0], $alg, $_[1] // '') };
	my $bytes = decode_base64url($signature);
	my %forgery = (
		'signed with a key of the same kind' => sign_with($thief{$alg}, $claims),
		'its own key in the header' =>
		  sign_with($thief{$alg}, $claims, $named->($alg, ",\"jwk\":$thief{$alg}{jwk}")),
		'an address of keys' =>
		  sign_with($thief{$alg}, $claims, $named->($alg, ',"jku":"https://mallory.example"')),
		'other claims under a true signature' => "$header.$forged_payload.$signature",
		'no signature' => "$header.$forged_payload.",
		'a cut signature' => "$header.$payload." . encode_base64url(substr($bytes, 0, -1)),
		'a longer signature' => "$header.$payload." . encode_base64url("$bytes\0"),
		'a signature of zeros' => "$header.$payload." . encode_base64url("\0" x length($bytes)),
		'a signature of ones' => "$header.$payload."
		  . encode_base64url(("\0" x (length($bytes) / 2 - 1) . "\1") x 2),
		'a critical extension' => sign_with($key, $claims, $named->($alg, ',"crit":["x"],"x":1')));
	$forgery{"alg $_"} = encode_base64url($named->($_)) . ".$forged_payload."
	  for ('none', 'None', 'NONE', '', lc($alg) . ' ');

	for my $other (neighbours($alg))
	{
		$forgery{"signed as $other, said to be $alg"} =
		  sign_with($thief{$other}, $claims, $named->($alg));
		$forgery{"signed with the true key of $other, with the kid of $alg"} =
		  sign_with($key{$other}, $claims, $named->($other));
	}
	for my $hmac (map { "HS$_" } (256, 384, 512))
	{
		for my $public (grep { $key->{$_} } ('pem', 'der', 'jwk'))
		{
			next if $alg =~ /^HS/;
			$forgery{"$hmac with the public key as $public"} =
			  sign_with({ %{ $key{$hmac} }, secret => $key->{$public} }, $claims, $named->($hmac));
		}
	}
	$forgery{'the signature in DER'} = sign_with($key, $claims, undef, 1) if $alg =~ /^ES/;
	return %forgery;
}

for my $alg (@algorithms)
{
	my %forgery = forgeries($alg);
	my @names = sort keys %forgery;
	my $good = sign_with($key{$alg}, sprintf('{"sub":"ann","exp":%d}', time + 600));
	my $ask = join(";\n", map { "SELECT '$_ is ' || cozi.login('$forgery{$_}')" } @names);
	my ($out, $err);

	for my $when ('before a good token', 'after it')
	{
		($out, $err) = run_script($ask);
		is($out, '', "$alg, $when: no forged token is believed");
		is(scalar(() = $err =~ /ERROR:  invalid token$/mg),
			@names, "$alg, $when: each forged token has the same error");
		($out) = run_script("BEGIN; SELECT cozi.login('$good'); $workers; SELECT who(); "
			  . 'SELECT cozi.logout(); SELECT who(); END');
		is($out, "ann\nann\n\nnobody", "$alg, $when: a good token is believed, by a worker, too");
	}
}

$node->stop;
done_testing();
