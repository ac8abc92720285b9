"""What the command line accepts, in docopt's language; this text is the grammar."""

from __future__ import annotations

USAGE = """OpenWatch watches Linux hosts for security compliance, over SSH, and keeps the history.

Usage:
  openwatch [--config FILE] [--log-level LEVEL] [--listen ADDRESS] [serve]
  openwatch worker [--config FILE] [--log-level LEVEL] [--poll-interval SECONDS]
  openwatch worker --inherit
  openwatch migrate [--config FILE] [--log-level LEVEL] [--status]
  openwatch create-admin --username NAME --email ADDRESS
                         [--password-file FILE | --password-stdin]
                         [--config FILE] [--log-level LEVEL]
  openwatch users list [--config FILE] [--log-level LEVEL] [--json]
  openwatch users reset-password NAME [--password-file FILE | --password-stdin]
                                      [--config FILE] [--log-level LEVEL]
  openwatch users (unlock | disable | enable | reset-mfa) NAME
                                      [--config FILE] [--log-level LEVEL]
  openwatch check-config [--config FILE] [--log-level LEVEL] [--listen ADDRESS] [--json]
  openwatch check --local [--sudo] [--ask-sudo-password | --sudo-password-file FILE]
                          [--framework NAME] [--severity LEVEL] [--rule ID]... [--lane LANE]
                          [--rules DIR]... [--var SETTING]...
                          [--format FORMAT] [--log-level LEVEL]
  openwatch check --host HOST [--user NAME] [--port PORT] [--jump CHAIN]
                  [--key FILE] [--certificate FILE]
                  [--ask-password | --login-password-file FILE]
                  [--known-hosts FILE | --accept-key FINGERPRINT]
                  [--sudo] [--ask-sudo-password | --sudo-password-file FILE]
                  [--framework NAME] [--severity LEVEL] [--rule ID]... [--lane LANE]
                  [--rules DIR]... [--var SETTING]...
                  [--format FORMAT] [--log-level LEVEL]
  openwatch rules validate DIR [--json]
  openwatch rules list [--framework NAME] [--rules DIR]... [--var SETTING]... [--json]
  openwatch rules show ID [--rules DIR]... [--var SETTING]... [--json]
  openwatch rules explain ID --host HOST [--config FILE] [--log-level LEVEL] [--json]
  openwatch rules explain ID --local [--sudo] [--ask-sudo-password | --sudo-password-file FILE]
                             [--rules DIR]... [--var SETTING]... [--log-level LEVEL] [--json]
  openwatch rules test --at DATE [--corpus DIR] [--var SETTING]... [--host HOST]
                       [--config FILE] [--log-level LEVEL] [--json]
  openwatch verify [--host HOST] [--trust FINGERPRINT]... [--export FILE | --from FILE]
                   [--config FILE] [--log-level LEVEL]
  openwatch verify --audit [--trust FINGERPRINT]... [--config FILE] [--log-level LEVEL]
  openwatch keys (list | rotate-jwt | rotate-signing) [--config FILE] [--log-level LEVEL]
  openwatch keys rotate-credential-key [--wait SECONDS] [--keep-old]
                                       [--config FILE] [--log-level LEVEL]
  openwatch keys forget-lost [--yes] [--config FILE] [--log-level LEVEL]
  openwatch openapi
  openwatch --version
  openwatch --help

Commands:
  serve          Serve the API over HTTPS, and run the workers. This is the default.
  worker         Scan hosts for a server that runs elsewhere.
  migrate        Bring the database's schema up to this program, or show where it stands.
  create-admin   Create a user who may do everything.
  users          List the users, give one a new password, let one try again after too many failed
                 sign-ins, take a lost second factor away, or let one in no more. Needs nobody to be
                 signed in.
  check-config   Print every setting and where it came from.
  check          Scan a host now and print what was found; needs no database.
  rules          Look at the rules, check a directory of one's own, or say why a rule is judged on
                 a host as it is; test judges stored answers by other rules, without asking a host.
  verify         Check that the evidence is what was signed, in the database or in an export;
                 with --audit, that nothing in the audit trail was changed, removed or cut off.
  keys           Print the fingerprints of the keys, to write down; replace a key while everything
                 runs; or drop what no key opens any more. Replacing key files needs root.
  openapi        Print the description of the API.

Everywhere:
  --config FILE           The configuration file; /etc/openwatch/openwatch.toml if not given.
  --log-level LEVEL       debug, info, warn or error.
  --listen ADDRESS        Where to serve, as host:port.
  --poll-interval SECONDS  How often a worker looks for work, at most 5.
  --inherit               Take the configuration from standard input and end when that does: what
                          serve starts its workers with.
  --status                Change nothing, print what is applied and what is not.
  --json                  Print JSON.
  -h --help               Print this.
  --version               Print the version.

The first administrator, and passwords:
  --username NAME         The name to sign in with.
  --email ADDRESS         Their address.
  --password-file FILE    Read the password from the first line of a file. It is asked for where
                          neither this nor the next is given.
  --password-stdin        Read the password from the first line of standard input.

Scanning now:
  --local                 This machine, without SSH.
  -H HOST --host HOST     A host, by name or address.
  -u NAME --user NAME     The login user; who you are here, if not given.
  -P PORT --port PORT     The SSH port; 22 if not given.
  -k FILE --key FILE      The private key; the first of ~/.ssh/id_ed25519, id_ecdsa, id_rsa if not
                          given and no password either. An encrypted key asks for its passphrase, or
                          takes it from OPENWATCH_SSH_PASSPHRASE.
  --certificate FILE      The certificate of the private key; the key's name with -cert.pub after it,
                          where that is there.
  -J CHAIN --jump CHAIN   Go through these hosts, the nearest first: [USER@]HOST[:PORT], and more after
                          commas. They are logged in to with the key.
  --ask-password          Ask for the login password. Or put it into OPENWATCH_SSH_PASSWORD.
  --login-password-file FILE  Read the login password from the first line of a file.
  --sudo                  Ask the questions as root, through sudo.
  --ask-sudo-password     Ask for the password sudo wants. Or put it into OPENWATCH_SUDO_PASSWORD.
  --sudo-password-file FILE  Read sudo's password from the first line of a file.
  --known-hosts FILE      Look for the host's key here, in place of ~/.ssh/known_hosts and
                          /etc/ssh/ssh_known_hosts.
  --accept-key FINGERPRINT  Accept the host's key if it has this fingerprint (SHA256:...).
  -f NAME --framework NAME  Only the rules of a framework: stig, or cis_debian12.
  -s LEVEL --severity LEVEL  Only rules at least this severe: low, medium, high, critical.
  --rule ID               Only this rule; may be given again.
  --lane LANE             config, filesystem (what walks the disks and verifies packages: minutes)
                          or all; config if not given and no rule is named.
  -r DIR --rules DIR      Load rules from here too; may be given again.
  -x SETTING --var SETTING  Set a variable of the rules, as NAME=VALUE; may be given again.
  --format FORMAT         table or json [default: table].

Judging stored answers:
  --at DATE               What hosts answered by then: a day (its end), or an instant with its zone.
  --corpus DIR            By the rules of this directory alone; by the server's if not given.

Keys:
  --wait SECONDS          How long to wait for running processes to take the new key: 120. Whatever
                          breaks a rotation off, the same command goes on with it.
  --keep-old              Keep the old key's file aside, under a name that nothing reads.
  --yes                   Drop it, rather than only list it.

Verifying evidence and the audit trail:
  --audit                 Verify the audit trail instead.
  --trust FINGERPRINT     Trust this key, and those it endorsed; may be given again.
  --export FILE           Write what was verified into a file that needs no database.
  --from FILE             Verify such a file; nothing else is read.

Exit status of check, the first that applies:
  2  the command line is wrong
  3  the host could not be scanned, or some rule could not be judged
  1  a rule fails
  0  compliant

Exit status of rules test, the first that applies:
  2  the command line is wrong
  3  some rule or host cannot be told of, because nobody had asked
  1  a verdict would flip
  0  none would

Exit status of verify:
  0  everything is what a trusted key signed
  1  something has been changed or is missing
  2  the command line is wrong
  3  everything hangs together, but no trusted key vouches for all of it
  4  it could not be found out

Exit status of the other commands: 0 done, 1 failed, 2 the command line is wrong.
"""
