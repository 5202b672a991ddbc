# What a token says is judged alike, whatever algorithm it is signed with: form,
# header, claims, times, issuer, audience, kind.  The answers for HS256 are those
# of test/sql/identity_token.sql; here each other algorithm gives the same.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Token;
use Test::More;
use Warm;

my $node = Warm->new('judge');
$node->init;
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION cozi');

my @algorithms = qw(HS256 HS384 HS512 RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 ES512 EdDSA);
my %key = map { $_ => new_key($_) } @algorithms;
my $issuer = 'https://a.example';
$node->safe_psql('postgres', "SELECT cozi.add_key('$_->{jwk}', NULL, '$issuer', '{web,app}')")
  for values %key;

# Claims as JSON text; the first $good are believed.
my $now = 1_767_225_600;    # 2026-01-01
my $who = qq("iss":"$issuer","aud":"web");
my $times = sprintf '"exp":%d', $now + 600;
my @claims = (
	"{\"sub\":\"ann\",$who,$times}",
	"{\"sub\":\"ann\",\"iss\":\"$issuer\",\"aud\":[\"mail\",\"app\"],$times}",
	"{\"sub\":\"ann\",\"iss\":\"$issuer\",\"client_id\":\"web\",$times}",
	sprintf('{"sub":"ann",%s,"exp":%d}', $who, $now - 10),
	# from here on each is refused
	sprintf('{"sub":"ann",%s,"exp":%d}', $who, $now - 3600),
	sprintf('{"sub":"ann",%s,%s,"nbf":%d}', $who, $times, $now + 3600),
	sprintf('{"sub":"ann",%s,%s,"iat":%d}', $who, $times, $now + 3600),
	sprintf('{"sub":"ann",%s,"exp":%d}', $who, $now + 10 * 365 * 86400),
	sprintf('{"sub":"ann",%s,"exp":"%d"}', $who, $now + 600),
	"{\"sub\":\"ann\",$who}",
	"{\"sub\":\"\",$who,$times}",
	"{\"sub\":7,$who,$times}",
	"{$who,$times}",
	"{\"sub\":\"ann\",\"sub\":\"bob\",$who,$times}",
	"{\"sub\":\"ann\\u0000\",$who,$times}",
	"{\"sub\":\"ann\",\"iss\":\"https://b.example\",\"aud\":\"web\",$times}",
	"{\"sub\":\"ann\",\"aud\":\"web\",$times}",
	"{\"sub\":\"ann\",\"iss\":\"$issuer\",\"aud\":\"mail\",$times}",
	"{\"sub\":\"ann\",\"iss\":\"$issuer\",\"aud\":[],$times}",
	"{\"sub\":\"ann\",\"iss\":\"$issuer\",$times}",
	"{\"sub\":\"ann\",$who,$times,\"events\":{}}",
	"{\"sub\":\"ann\",$who,$times,\"typ\":\"Refresh\"}",
	"{\"sub\":\"ann\",$who,$times,\"token_use\":\"id\"}",
	"{\"sub\":\"ann\",$who,$times",
	"[\"sub\",\"ann\"]",
	'');
my $good = 4;
# Further members of the header, each with the first of the claims.
my @headers = (
	'"typ":"JWT"', '"typ":"application/at+jwt"',
	# refused
	'"typ":"logout+jwt"', '"typ":"dpop+jwt"', '"crit":["exp"]', '"b64":false', '"zip":"DEF"');
my $good_headers = 2;

# The reasons why the tokens of an algorithm are refused, "believed" where none is.
sub reasons
{
	my ($alg) = @_;
	my $key = $key{$alg};
	my $header = sub { sprintf '{"alg":"%s","kid":"%s"%s}', $alg, $alg, $_[0] };
	my @tokens = map { sign_with($key, $_) } @claims;
	push @tokens, sign_with($key, $claims[0], $header->(",$_")) for @headers;
	# another kid, and none; then something added around it
	push @tokens,
	  sign_with($key, $claims[0], "{\"alg\":\"$alg\",\"kid\":\"other\"}"),
	  sign_with($key, $claims[0], "{\"alg\":\"$alg\"}"),
	  "$tokens[0].", "$tokens[0]=", ".$tokens[0]", " $tokens[0]",
	  "Bearer $tokens[0]";
	my $values = join ', ', map { "($_, '$tokens[$_]')" } 0 .. $#tokens;
	my $answers = $node->safe_psql('postgres',
		"SELECT coalesce(cozi.check_token(token, to_timestamp($now)), 'believed')
			FROM (VALUES $values) t (n, token) ORDER BY n");
	return split /\n/, $answers =~ s/\b\Q$alg\E\b/ALG/gr;
}

my @first = reasons('HS256');
my @bad = (@first[ $good .. $#claims ], @first[ @claims + $good_headers .. $#first ]);
is("@first[0 .. $good - 1]", join(' ', ('believed') x $good), 'HS256: good claims are believed');
is(
	"@first[@claims .. @claims + $good_headers - 1]",
	join(' ', ('believed') x $good_headers),
	'HS256: the types of access tokens are believed');
is(scalar(grep { $_ eq 'believed' } @bad), 0, 'HS256: each bad token is refused');
for my $alg (@algorithms[ 1 .. $#algorithms ])
{
	is_deeply([ reasons($alg) ], \@first, "$alg: each token has the answer that HS256 gives");
}

$node->stop;
done_testing();
