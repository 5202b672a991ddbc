package Token;

# Tokens for tests: HS256 by Digest::SHA, of which cozi shares no line.
use strict;
use warnings;
use Digest::SHA qw(hmac_sha256);
use Exporter 'import';
use MIME::Base64 qw(encode_base64url);

our @EXPORT = qw($secret token sign);
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

1;
