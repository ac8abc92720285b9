"""Secrets are known by their form; what only looks like one stays readable."""

from __future__ import annotations

import time

import pytest

from openwatch.evidence.redact import is_telling, redact, redact_all, without

_PEM = b"-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk\nAAAA==\n-----END OPENSSH PRIVATE KEY-----"


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        (b"root:$y$j9T$F5Jx5fExrKuPp53xLKQ..1$X3DX6M94c7o:19000:0:99999:7:::\n", b"F5Jx5"),
        (b"bob:$6$rounds=5000$saltsalt$hashhash/..abc:1:0:9:7:::", b"hashhash"),
        (b"old:ab01FAX.bQRSU:19000:0:99999:7:::\n", b"FAX"),
        (b"locked:!ab01FAX.bQRSU:19000:0:99999:7:::", b"FAX"),
        (b"GRUB2_PASSWORD=grub.pbkdf2.sha512.10000.ABCDEF.012345", b"ABCDEF"),
        (b"before\n" + _PEM + b"\nafter", b"AAAA"),
        (b"-----BEGIN RSA PRIVATE KEY-----\nMIIEcutoff\nabc", b"cutoff"),
        (b"password = hunter22", b"hunter"),
        (b"db_password='s3cr3t!!'", b"s3cr"),
        (b'{"token": "abcdef123"}', b"abcdef"),
        (b"proxy=http://user:pw123@proxy/", b"pw123"),
        (b"Authorization: Bearer abcdefghijklmnopqrst", b"abcdef"),
        (b"userPassword:: {SSHA}0c0blFTXXNuAMHECS4uxrj3ZieMoWImr", b"0c0bl"),
        (b"key AKIAIOSFODNN7EXAMPLE end", b"IOSFODNN7"),
        (b"ghp_" + b"a1" * 18, b"a1a1a1"),
        (b"password = pa:ss,wo;rd", b"wo;rd"),
        (b'SECRET_KEY="two words, and more"', b"and more"),
        (b"[Interface]\nPrivateKey = yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=", b"yAnz5TF"),
        (b"ldap_default_authtok = Winter2024", b"Winter"),
        (b"bindpw Winter2024", b"Winter"),
        (b"\trwcommunity hidden 10.0.0.1", b"hidden"),
        (b"machine x login bob password Winter2024", b"Winter"),
        (b"createUser bob SHA Winter2024 AES Summer2024", b"Summer"),
        (b"net.ipv4.tcp_fastopen_key = 11111111-22222222-33333333-44444444", b"22222222"),
        (b"net.ipv6.conf.eth0.stable_secret = 2001:db8::1", b"db8"),
        (b"//srv/x /mnt cifs username=u,password=Winter2024,uid=0 0 0", b"Winter"),
        (b"hvs.CAESIJ1234567890abcdefghij", b"CAESIJ"),
        (b"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjMifQ.c2lnbmF0dXJl", b"c2lnbm"),
        # a path before the value does not make it anything but a secret
        (b"/etc/app/app.conf:password=Winter2024", b"Winter"),
        (b"/etc/app/app.conf:password: Winter2024", b"Winter"),
        (b"/etc/app/password:Winter2024", b"Winter"),
        (b"/etc/app/secret: Winter2024\n", b"Winter"),
        (b"db/password: Winter2024", b"Winter"),
        (b"/db/password=Winter2024", b"Winter"),
        (b"/etc/passwd=Winter2024", b"Winter"),
        (b"/etc/passwd:Winter2024", b"Winter"),
        (b"/etc/passwd: Winter2024", b"Winter"),
        (b"/etc/passwd:bob:ab01FAX.bQRSU:1000:1000:/home/bob:/bin/sh", b"FAX"),
        (b"/etc/passwd:bob:x:1:1:password=Winter2024:/:/bin/sh", b"Winter"),
        (b"see /etc/passwd:bob:x:1:1:/:/bin/sh, password: Winter2024", b"Winter"),
        (b"/etc/pam.d/common-password:Winter2024", b"Winter"),
        (b"/etc/pam.d/common-password:# password: Winter2024", b"Winter"),
        (b"/etc/pam.d/x:auth required pam_mount.so password=Winter2024", b"Winter"),
        (b"/etc/sudoers.d/passwd:Winter2024", b"Winter"),
        (b"PASSWD: WINTER2024", b"WINTER"),
        (b"(PASSWD: WINTER2024", b"WINTER"),
        (b"password: owner is bob, token=Winter2024", b"Winter"),
        (b"A=1 PASSWD: Winter2024", b"Winter"),
        (b"nopasswd: Winter2024", b"Winter"),
        (b"password: Permission denied Winter2024", b"Permission"),
        (b"x" * 300 + b"/etc/passwd:bob:x:1:1:/:/bin/sh", b"bob"),
    ],
)
def test_a_secret_is_masked_and_the_masking_is_counted(text: bytes, secret: bytes) -> None:
    done = redact(text)
    assert secret in text
    assert secret not in done.content
    assert b"[redacted: " in done.content
    assert done.masked >= 1
    assert redact(done.content).content == done.content


@pytest.mark.parametrize(
    "text",
    [
        b"PasswordAuthentication no\npermitemptypasswords no",
        b"password requisite pam_pwquality.so retry=3",
        b"root:x:0:0:root:/root:/bin/bash",
        b"daemon:*:19000:0:99999:7:::\nsshd:!:19000::::::\nirc:!!:19000::::::",
        b"passwd:         files systemd\nshadow:         files",
        b"minlen=14 PASS_MAX_DAYS 365 ENCRYPT_METHOD SHA512",
        b"password: no\npassword_pam = yes",
        b"passwd: ldap files\ngroup: files",
        b"Password: /etc/ldap/secret.file\nbindpw_file /etc/x",
        b"Last login: Mon\nlogin password required",
        b"awk '{print $1 $5}' and $6$",
        b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
        b"\xff\xfe\x00binary\x00",
        b"",
        b"/etc/passwd:root:x:0:0:/root:/bin/bash\n/etc/passwd:bob:!$6:1:1:/home/bob:/bin/sh",
        b"/etc/passwd:old:hash:7:7:/:/bin/sh\n/etc/passwd:free::8:8:/:/bin/sh",
        b"/etc/pam.d/common-password:password\trequisite\tpam_pwquality.so retry=3",
        b"/etc/pam.d/passwd:@include common-password\n/etc/pam.d/chpasswd:-session optional x.so",
        b"/usr/lib/pam.d/passwd:  auth include system-auth",
        b"/etc/sudoers:dave ALL = NOPASSWD: NET, !/bin/su, PASSWD: SHELLS",
        b"/etc/sudoers:  /usr/bin/systemctl restart app, PASSWD: SHELLS, NOPASSWD:NOEXEC: EDIT",
        b"/etc/sudoers.d/passwd:bob ALL=(ALL) NOPASSWD: ALL, /bin/ls",
        b"sh: 1: /etc/passwd: Permission denied\n",
        b"/etc/passwd: owner is bob, mode is 0666",
        b"ADMINS (root) PASSWD: SHELLS",
        b"cat: /etc/security/opasswd: No such file or directory",
        b'sysctl: reading key "net.ipv6.conf.all.stable_secret": Input/output error',
    ],
)
def test_what_is_no_secret_stays_as_it_is(text: bytes) -> None:
    assert redact(text).content == text
    assert redact(text).masked == 0


def test_what_surrounds_a_secret_stays() -> None:
    assert (
        redact(b"before\n" + _PEM + b"\nafter").content
        == b"before\n[redacted: private key]\nafter"
    )
    assert redact(b"root:$6$saltsalt$hashhashhash:1:0:9:7:::").content == (
        b"root:[redacted: password hash]:1:0:9:7:::"
    )


def test_a_masked_value_ends_where_the_list_goes_on() -> None:
    text = b"//srv/x /mnt cifs username=u,password=Winter2024,uid=0,noexec 0 0"
    assert redact(text).content == (
        b"//srv/x /mnt cifs username=u,password=[redacted: secret],uid=0,noexec 0 0"
    )


def test_a_known_secret_is_masked_wherever_it_stands() -> None:
    found = redact(b"password = Winter2024")
    assert found.secrets == (b"Winter2024",)
    assert "Winter" not in repr(found)
    assert without(b"it is Winter2024!", found.secrets).content == b"it is [redacted: secret]!"
    assert without(b"nothing", found.secrets).masked == 0
    assert is_telling(b"Winter2024")
    assert not is_telling(b"required")


@pytest.mark.parametrize(
    "unit",
    [
        b"eyJ-",
        b"-----BEGIN PRIVATE KEY-----_",
        b"password ",
        b"://",
        b"$1$",
        b"a:",
        b"bearer ",
        b"eyJaaaaaaaaaa.",
        b"secret=,",
        b"login a password ",
        b"createuser ",
        b"bindpw\n ",
        b"PASSWD:",
        b"NOPASSWD: aaaa",
        b"=PASSWD: A",
        b"/etc/passwd:a:x:1:1:\n",
        b"/etc/passwd:",
        b"secret: Is a directory",
    ],
)
def test_hostile_text_costs_no_more_than_a_moment(unit: bytes) -> None:
    text = unit * (65536 // len(unit))
    begin = time.monotonic()
    redact(text)
    assert time.monotonic() - begin < 3


def test_many_contents_are_masked_as_each_would_be_by_itself() -> None:
    contents = [
        b"",
        b"nothing to see",
        b"password = hunter2hunter2",
        b"root:$6$abcdefgh$0123456789abcdef:19000:0:99999:7:::",
        b"url postgres://me:sesame-open@db/x and Bearer 0123456789abcdef0123",
        b"login me\npassword hunter2hunter2",
        b"AKIAABCDEFGHIJKLMNOP",
    ]
    assert redact_all(contents) == [redact(content) for content in contents]
    for content in contents:  # and alone, where few forms are looked for
        assert redact_all([content]) == [redact(content)]
