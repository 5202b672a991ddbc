package Token;

# Tokens for tests: HMAC by Digest::SHA, the other signatures by libcrypto, in a
# program of the tests (identity_signer.c) of which cozi shares no line.
use strict;
use warnings;
use Digest::SHA qw(hmac_sha256 hmac_sha384 hmac_sha512);
use Exporter 'import';
use File::Temp;
use FindBin;
use IPC::Run     ();
use MIME::Base64 qw(encode_base64 encode_base64url);

our @EXPORT = qw($secret token sign new_key sign_with);
our $secret = 'a secret of the tests, with 32 bytes or more';

# sign(payload as JSON text, header as JSON text, secret)
sub sign
{
	my ($payload, $header, $key) = @_;
	my $part =
	  encode_base64url($header || '{"alg":"HS256","typ":"JWT"}') . '.' . encode_base64url($payload);
	return $part . '.' . encode_base64url(hmac_sha256($part, $key || $secret));
}

# token(subject, further members as JSON text, secret, header): good for ten minutes
sub token
{
	my ($sub, $more, $key, $header) = @_;
	return sign(sprintf('{"sub":"%s","exp":%d%s}', $sub, time + 600, $more ? ",$more" : ''),
		$header, $key);
}

my ($signer, $in, $out, $dir) = (undef, '', '');

# The answer of identity_signer.c, as bytes.  It is compiled when it is first asked.
sub ask_signer
{
	my ($command) = @_;
	if (!$signer)
	{
		$dir = File::Temp->newdir;
		system('cc', '-o', "$dir/signer", "$FindBin::Bin/identity_signer.c", '-lcrypto') == 0
		  or die 'identity_signer.c does not compile';
		$signer = IPC::Run::start(["$dir/signer"], '<', \$in, '>', \$out);
	}
	$out = '';
	$in .= "$command\n";
	$signer->pump until $out =~ /\n/;
	return pack('H*', $out =~ s/\n//r);
}

END
{
	local $?;    # is how the test ended
	$signer->finish if $signer;
}

my $nkeys = 0;

# A key pair or a secret for an algorithm of RFC 7518: its jwk is JSON text.
sub new_key
{
	my ($alg, $kid) = @_;
	my ($family, $bits) = $alg =~ /^(..)(\d+|DSA)$/;
	my %key = (alg => $alg, family => $family, bits => $bits);
	my $jwk = sprintf('"kid":"%s","alg":"%s"', $kid // $alg, $alg);

	if ($family eq 'HS')
	{
		$key{secret} = join('', map { chr(33 + int(rand(90))) } 1 .. 64);
		$key{jwk} = sprintf('{"kty":"oct",%s,"k":"%s"}', $jwk, encode_base64url($key{secret}));
		return \%key;
	}
	my %curve = (256 => 'P-256', 384 => 'P-384', 512 => 'P-521');
	my $kind = $family eq 'Ed' ? 'ED25519' : $family eq 'ES' ? $curve{$bits} : 'RSA';
	$key{der} = ask_signer("key $kind");
	$key{number} = $nkeys++;
	$key{pem} = join "\n", '-----BEGIN PUBLIC KEY-----',
	  unpack('(A64)*', encode_base64($key{der}, '')), "-----END PUBLIC KEY-----\n";
	if ($family eq 'Ed')
	{
		$key{jwk} = sprintf('{"kty":"OKP","crv":"Ed25519",%s,"x":"%s"}',
			$jwk, encode_base64url(substr($key{der}, -32)));
	}
	elsif ($family eq 'ES')
	{
		$key{half} = { 256 => 32, 384 => 48, 512 => 66 }->{$bits};
		$key{jwk} = sprintf(
			'{"kty":"EC","crv":"%s",%s,"x":"%s","y":"%s"}',
			$curve{$bits}, $jwk,
			encode_base64url(substr($key{der}, -2 * $key{half}, $key{half})),
			encode_base64url(substr($key{der}, -$key{half})));
	}
	else
	{
		# DER ends in the modulus of 256 bytes, and the exponent with its tag and length
		my $n = encode_base64url(substr($key{der}, -261, 256));
		$key{jwk} = sprintf('{"kty":"RSA",%s,"n":"%s","e":"AQAB"}', $jwk, $n);
	}
	return \%key;
}

# The two numbers of an ECDSA signature in DER, side by side.
sub side_by_side
{
	my ($der, $half) = @_;
	my $at = ord(substr($der, 1, 1)) & 0x80 ? 3 : 2;
	my $both = '';
	for (1 .. 2)
	{
		my $len = ord(substr($der, $at + 1, 1));
		my $number = substr($der, $at + 2, $len);
		$number =~ s/^\0+//;
		$both .= ("\0" x ($half - length($number))) . $number;
		$at += 2 + $len;
	}
	return $both;
}

# The bytes of the signature of a text; ECDSA's in DER where $in_der.
sub signature
{
	my ($key, $text, $in_der) = @_;
	if ($key->{family} eq 'HS')
	{
		my $hmac =
		  { 256 => \&hmac_sha256, 384 => \&hmac_sha384, 512 => \&hmac_sha512 }->{ $key->{bits} };
		return $hmac->($text, $key->{secret});
	}
	my $digest = $key->{family} eq 'Ed' ? 'none' : "SHA$key->{bits}";
	my $padding = $key->{family} eq 'PS' ? 'pss' : 'none';
	my $bytes = ask_signer("sign $key->{number} $digest $padding " . unpack('H*', $text));
	return $key->{family} eq 'ES' && !$in_der ? side_by_side($bytes, $key->{half}) : $bytes;
}

# sign_with(key, payload, header): both JSON text; the header is the key's own by default
sub sign_with
{
	my ($key, $payload, $header, $in_der) = @_;
	my ($kid) = $key->{jwk} =~ /"kid":"([^"]*)"/;
	$header //= sprintf('{"alg":"%s","kid":"%s"}', $key->{alg}, $kid);
	my $part = encode_base64url($header) . '.' . encode_base64url($payload);
	return $part . '.' . encode_base64url(signature($key, $part, $in_der));
}

1;
