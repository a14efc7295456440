//! Legitimate text passes as it is.

use std::borrow::Cow;

use bytes::Bytes;

use super::all_packs;
use crate::sanitize::{Hits, Stream};

#[rustfmt::skip]
const LEGITIMATE: &[&str] = &[
    "Your password must be at least 8 characters. Reset the password: click here.",
    "The secret: patience. Secrets of the trade, e.g. 'secret sauce'; a secretary's password-protected file.",
    "Use `password=password` in tests, password=your_password here, or PASSWORD=${DB_PASSWORD} and secret: <your-secret>.",
    "def login(user, password=None): return auth(user=user, password=password)",
    "client = OpenAI(api_key=os.environ[\"OPENAI_API_KEY\"])\nconst apiKey = process.env.API_KEY;",
    "interface User { password: string; secret?: string; apiKey: string }",
    "{\"password\":\"string\",\"secret\":null,\"api_key\":\"\"}",
    "{\"type\":\"object\",\"properties\":{\"password\":{\"type\":\"string\"}}}",
    "{\"usage\":{\"prompt_tokens\":12,\"completion_tokens\":34,\"total_tokens\":46,\"cached_tokens\":0}}",
    "{\"logprobs\":{\"content\":[{\"token\":\"Hello\",\"logprob\":-0.31725305,\"bytes\":[72,101,108,108,111]}]}}",
    "data: {\"id\":\"chatcmpl-123\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" world\"},\"finish_reason\":null}]}\n\n",
    "data: [DONE]\n\n",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\",\"text\":\"Hi\"}}\n\n",
    "Bearer tokens are sent as `Authorization: Bearer <token>`; bearer authentication is simple. Basic authentication too: Basic programming.",
    "Set `Authorization: Bearer YOUR_API_KEY` or Bearer $TOKEN.",
    "risk-averse, disk-usage, sk-fading-circle, sk-learn, class=\"sk-folding-cube\" ask-me-anything-about-it-please",
    "weir_requests_total{operation=\"chat\"} 5\nweir_upstream_duration_seconds_bucket{le=\"0.005\"} 1",
    "550e8400-e29b-41d4-a716-446655440000, 2024-05-01T12:30:45.123Z, $19.99, 1.10.0.0.5, 110.0.0.5, 10.0.0.5.6, 10.0.19041.1",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/127.0.0.0 Safari/537.36",
    "versions 1.2.3, v2.0.0-rc.1, 10.1, 10.2.3, 172.5, 192.168, 8.8.8.8, 1.1.1.1, 172.32.0.1, 100.128.0.1, 11.0.0.1",
    "https://example.com/path?query=1#frag, http://user@example.com, mailto:bob@example.com, ftp://ftp.example.org:21/x",
    "time 12:30:45, ratio 16:9, MAC 00:1b:44:11:3a:b7, fed::up? fact: feature: face:b00k, ::1",
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==",
    "import threading; local = threading.local()\ncp .env.local .env; self.internal = 1; module.internal.foo; x.locale; config.local",
    "see localhost, the local host, internal affairs, a corporate LAN.",
    "| a | b |\n|---|---|\n| 1 | 2 |\n\n# Title\n- item *bold* `code` [link](https://example.com)\n```rust\nfn main() { println!(\"hi\"); }\n```",
    "try:\n    run()\nexcept sqlalchemy.exc.IntegrityError:\n    raise ValueError(\"bad\") from error\n",
    "A java.lang.NullPointerException is thrown when you call a method on null. TypeError: x is not a function means that.",
    "Look at the doc (chapter 3) and meet at 12:30 at the station. at Acme we (all) care. File a report, line 5.",
    "goroutine leaks, thread 'safety', panic: keep calm. Error at login. #1 priority (2): done. in /tmp we trust.",
    "[SQL] is fun; [SQL](https://sql.example.com), select * from users where host = 'x' and port = 5",
    "host=example set; server = app.listen(3000); user=bob; database = {}; driver=x",
    "redis is fast, postgres:latest, nats. mysql -u root; use a `redis://` URL or `postgres://...`.",
    "Set-Cookie: id=a3fWa; Expires=Thu, 21 Oct 2021 07:28:00 GMT; Path=/; Secure",
    "emoji \u{1F600}\u{1F44D}\u{1F3FD} Grüße, 日本語テキスト, русский, العربية",
    "eyJ is how base64 JSON begins; eyJhbGciOiJIUzI1NiJ9 alone is no token. AKIA is a prefix; AIza too; hf_hub_download, npm_config_cache.",
    "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n-----BEGIN PUBLIC KEY-----\nMFkw\n-----END PUBLIC KEY-----",
    "SG. Tennis, SKILLS, SKU 12, SK0 model; ORA-toria; SQLSTATE codes; Sequelize and PrismaClient are ORMs.",
    "{\"secret_santa\":\"Bob\",\"passwordless\":true,\"keyboard\":\"x\",\"tokenizer\":\"bpe\",\"next_page_token\":\"CAUQAA\"}",
    "{\"msg\":\"password=\",\"x\":\"1\"}",
    "Reset your password: https://example.com/reset?x=1 or password=/run/secrets/db; pwd: /home/user1; the secret:\n\"Patience\"",
    "Password: 8-64 characters. if (password === 'x') {} if password == other: api_key = 5; password: z.string().min(8)",
    "The connection to server at our site was lost. panic: no, goroutine 5 is fine.",
    "{\"label\":\"Password\",\"placeholder\":\"Enter password:\",\"error\":\"Password: required\"}",
];

#[test]
fn legitimate_text_is_left_alone() {
    let redactor = all_packs();
    let mut failures = Vec::new();
    for text in LEGITIMATE {
        let mut hits = Hits::new();
        match redactor.redact(text.as_bytes(), &mut hits) {
            Cow::Borrowed(same) if same == text.as_bytes() && hits.is_empty() => {}
            spoilt => failures.push(format!("{text:?}\n  -> {:?}", super::show(&spoilt))),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn an_ordinary_event_passes_at_once_and_uncopied() {
    let mut stream = Stream::new(all_packs());
    let texts = [
        "hello",
        " world",
        " at",
        " the",
        " s",
        " pass",
        " 10",
        ".",
        "\\n",
        "Error",
        " key:",
        "é",
        "=",
        "https://x.y",
    ];
    for text in texts {
        let event = Bytes::from(format!(
            "data: {{\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n"
        ));
        let out = stream.push(event.clone());
        assert_eq!(out, event);
        assert_eq!(out.as_ptr(), event.as_ptr(), "copied: {text}");
        assert_eq!(stream.held(), 0, "held after {text}");
    }
}

#[test]
fn only_what_may_become_a_secret_is_held() {
    for (text, held) in [
        ("done. ", 0),
        ("the key is sk", 2),
        ("a passw", 5),
        ("x\n", 0),
        ("see 10.0.0", 6),
        ("{}", 0),
        ("word ", 0),
    ] {
        let mut stream = Stream::new(all_packs());
        stream.push(Bytes::copy_from_slice(text.as_bytes()));
        assert_eq!(stream.held(), held, "{text}");
    }
}

#[test]
fn bytes_that_are_not_utf8_pass() {
    let redactor = all_packs();
    let text: Vec<u8> =
        (0..=255u8).rev().chain(*b"\xff\xfe sk-\xc3 password=\xff\xff \x80at \xf0\x9f").collect();
    let (out, _) = super::streamed(&redactor, text.chunks(1));
    assert_eq!(out, super::whole(&redactor, &text));
    assert!(super::show(&out).contains("sk-"));
}
