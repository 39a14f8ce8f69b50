# Sends each line of stdin as a command to the control socket of Kea that is the
# argument, and prints a line for each answer. Kea takes one command a connection.
use strict;
use warnings;
use IO::Socket::UNIX;
my $path = shift;
while (my $command = <STDIN>) {
	alarm 60;
	my $kea = IO::Socket::UNIX->new(Peer => $path) or do { print STDERR "$path: $!\n"; exit 1 };
	print $kea $command;
	$kea->flush;
	my $answer = do { local $/; <$kea> } // "";
	$answer =~ s/\s*\z//;
	if ($answer eq "") { print STDERR "$path: no answer\n"; exit 1 }
	print "$answer\n";
}
