//! Texts with secrets: the text, and parts that must not be seen afterwards.

use crate::sanitize::Pack;

/// A text, what must vanish from it, and what must stay.
pub(super) struct Sample {
    pub pack: Pack,
    pub text: &'static str,
    pub gone: &'static [&'static str],
    pub kept: &'static [&'static str],
}

const fn sample(
    pack: Pack,
    text: &'static str,
    gone: &'static [&'static str],
    kept: &'static [&'static str],
) -> Sample {
    Sample { pack, text, gone, kept }
}

pub(super) fn all() -> impl Iterator<Item = &'static Sample> {
    CREDENTIALS.iter().chain(CONNECTIONS).chain(TRACES).chain(ADDRESSES)
}

use Pack::{ConnectionStrings, Credentials, PrivateAddresses, StackTraces};

// Tokens are put together here, so that no scanner takes them for real ones.
#[rustfmt::skip]
const CREDENTIALS: &[Sample] = &[
    sample(Credentials, concat!("key sk-", "proj-aB3dE6gH9jK2mN5pQ8sT1vW4 ok"), &["proj-", "pQ8sT1"], &["key ", " ok"]),
    sample(Credentials, concat!("{\"k\":\"sk-", "ant-api03-AbCdEf0123456789_xyz-AA\"}"), &["ant-", "AbCd"], &["{\"k\":\"", "\"}"]),
    sample(Credentials, concat!("sk-", "or-v1-0123456789abcdef0123456789abcdef"), &["0123456789"], &[]),
    sample(Credentials, concat!("sk-", "abcdefghijklmnopqrstuvwx, then"), &["abcdefgh"], &[", then"]),
    sample(Credentials, concat!("use sk_", "live_51HxYzAbCdEfGhIj now"), &["51HxYz"], &[" now"]),
    sample(Credentials, concat!("rk_", "live_51HxYzAbCdEfGhIj"), &["51HxYz"], &[]),
    sample(Credentials, concat!("id AKIA", "IOSFODNN7EXAMPLE."), &["IOSFODNN7"], &["id ", "."]),
    sample(Credentials, concat!("(ASIA", "Y34FZKBOKMUTVV7A)"), &["Y34FZKBO"], &["(", ")"]),
    sample(Credentials, concat!("ghp_", "16C7e42F292c6912E7710c838347Ae178B4a"), &["16C7e42F", "8B4a"], &[]),
    sample(Credentials, concat!("ghs_", "16C7e42F292c6912E7710c838347Ae178B4a"), &["16C7e42F"], &[]),
    sample(Credentials, concat!("github_pat_", "11ABCDEFG0abcdefghijkl_MNOPqrstuv"), &["11ABCDEFG0"], &[]),
    sample(Credentials, concat!("token=glpat-", "xYz1234567890abcdEFG"), &["xYz12345"], &[]),
    sample(Credentials, concat!("xoxb-", "123456789012-1234567890123-AbCdEfGhIjKl"), &["123456789012", "AbCdEf"], &[]),
    sample(Credentials, concat!("https://hooks.slack.com/services/", "T00000000/B00000000/XXXXabcdEFGH1234ijklMNOP"), &["T000", "abcdEFGH"], &["https://"]),
    sample(Credentials, concat!("?key=AIza", "SyDaGmWKa4JsXZ-HjGw7ISLn_3namBGewQe"), &["SyDaGm", "GewQe"], &["?key="]),
    sample(Credentials, concat!("hf_", "AbCdEfGhIjKlMnOpQrStUvWxYz012345"), &["AbCdEf"], &[]),
    sample(Credentials, concat!("npm_", "AbCdEfGhIjKlMnOpQrStUvWxYz0123456789"), &["AbCdEf"], &[]),
    sample(Credentials, concat!("pypi-", "AgEIcHlwaS5vcmcCJDAxMjM0NTY3"), &["AgEIcH"], &[]),
    sample(Credentials, concat!("SG.", "ngeVfQFYQlKU0ufo8x5d1A.TwL2iGABf9DHoTf-09kqeF8tAmbihYzrnopKc-1s5cr"), &["ngeVf", "TwL2i"], &[]),
    sample(Credentials, concat!("SK", "0123456789abcdef0123456789abcdef"), &["0123456789"], &[]),
    sample(Credentials, concat!("dop_v1_", "0123456789abcdef0123456789abcdef0123456789abcdef"), &["01234567"], &[]),
    sample(Credentials, concat!("weir_", "k7Qm2ZxT9pLw4RvB8nYc"), &["k7Qm2Z"], &[]),
    sample(Credentials, concat!("jwt eyJ", "hbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w. End"), &["hbGci", "eyJz", "dozj"], &["jwt ", ". End"]),
    sample(Credentials, "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA7bq\nabc+/=\n-----END RSA PRIVATE KEY-----\nThat was it.", &["MIIE", "abc+", "END RSA"], &["\nThat was it."]),
    sample(Credentials, "{\"pem\":\"-----BEGIN PRIVATE KEY-----\\nMIIEpAIBAAKCAQEA7bq\\nabc+/=\\n-----END PRIVATE KEY-----\\n\",\"n\":1}", &["MIIE", "abc+", "END"], &["{\"pem\":\"", "\\n\",\"n\":1}"]),
    sample(Credentials, "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,0F\n\nMHcCAQ\n-----END EC PRIVATE KEY-----", &["MHcC", "DEK"], &[]),
    sample(Credentials, "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA", &["b3Blbn"], &[]),
    sample(Credentials, "Authorization: Bearer abc123DEF456ghi789 was sent", &["abc123", "ghi789"], &["Authorization: Bearer ", " was sent"]),
    sample(Credentials, "got Basic dXNlcjpwYXNzd29yZA== here", &["dXNlcj"], &["Basic ", " here"]),
    sample(Credentials, "{\"password\":\"hunter2\",\"user\":\"bob\"}", &["hunter2"], &["{\"password\":\"", "\",\"user\":\"bob\"}"]),
    sample(Credentials, "{\"password\": \"pa\\\"ss}w,ord\"}", &["pa\\", "ss}w", "w,o"], &["{\"password\": \"", "\"}"]),
    sample(Credentials, "{\"arguments\":\"{\\\"password\\\":\\\"hunter2\\\"}\"}", &["hunter2"], &["\\\"password\\\":\\\"", "\\\"}\"}"]),
    sample(Credentials, "{'password': 'hunter2'}", &["hunter2"], &["{'password': '", "'}"]),
    sample(Credentials, "DB_PASSWORD=s3cr3t-Value next", &["s3cr3t"], &["DB_PASSWORD=", " next"]),
    sample(Credentials, "password: hunter2\nuser: bob", &["hunter2"], &["password: ", "\nuser: bob"]),
    sample(Credentials, "password=letmein\n", &["letmein"], &["password="]),
    sample(Credentials, "login failed password=hunter2&next=/", &["hunter2"], &["&next=/"]),
    sample(Credentials, "client_secret = \"Zm9vYmFy\"", &["Zm9v"], &["client_secret = \"", "\""]),
    sample(Credentials, "AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", &["wJalr", "CYEXA"], &["AWS_SECRET_ACCESS_KEY="]),
    sample(Credentials, "x-api-key: 0a1b2c3d4e5f", &["0a1b2c"], &["x-api-key: "]),
    sample(Credentials, "{\"text\":\"line\\nsk-abcd1234efgh5678ijkl\\nend\"}", &["abcd1234"], &["line\\n", "\\nend"]),
    sample(Credentials, "{\"secret\":\"-----BEGIN RSA PRIVATE KEY-----\\nMIIEpAIB\\n-----END RSA PRIVATE KEY-----\"}", &["MIIE"], &["\"}"]),
];

#[rustfmt::skip]
const CONNECTIONS: &[Sample] = &[
    sample(ConnectionStrings, "dsn postgresql://weir:s3cret@db.example.com:5432/app?sslmode=require here", &["weir", "s3cret", "5432", "sslmode"], &["dsn ", " here"]),
    sample(ConnectionStrings, "{\"url\":\"postgresql+asyncpg://u:p@h/db\"}", &["asyncpg", "u:p", "h/db"], &["{\"url\":\"", "\"}"]),
    sample(ConnectionStrings, "mongodb+srv://u:p%40x@cluster0.abcde.mongodb.net/?retryWrites=true.", &["u:p", "cluster0"], &["."]),
    sample(ConnectionStrings, "redis://:pw@10.0.0.5:6379/0", &["pw", "6379"], &[]),
    sample(ConnectionStrings, "rediss://cache.example.com", &["cache."], &[]),
    sample(ConnectionStrings, "amqps://guest:guest@mq:5671/%2f", &["guest", "5671"], &[]),
    sample(ConnectionStrings, "mysql+pymysql://root:toor@127.0.0.1/x", &["root", "toor"], &[]),
    sample(ConnectionStrings, "(nats://a:b@n1:4222,nats://n2:4222)", &["a:b", "n2"], &["(", ")"]),
    sample(ConnectionStrings, "jdbc:postgresql://h:5432/db?user=u&password=pw", &["password", "5432"], &[]),
    sample(ConnectionStrings, "jdbc:oracle:thin:@//h:1521/svc", &["thin", "1521"], &[]),
    sample(ConnectionStrings, "see https://bob:hunter2@git.example.com/x.git now", &["bob", "hunter2", "git.ex"], &["see ", " now"]),
    sample(ConnectionStrings, "{\"u\":\"https:\\/\\/bob:hunter2@git.example.com\\/x\"}", &["bob", "hunter2"], &["{\"u\":\"", "\"}"]),
    sample(ConnectionStrings, "Server=tcp:db.example.com,1433;Database=app;User ID=sa;Password=p@ss;Encrypt=true;", &["db.example", "p@ss", "sa;"], &[]),
    sample(ConnectionStrings, "cs \"Driver={ODBC Driver 17};Server=db;Uid=u;Pwd=secretpw\" end", &["Server", "secretpw"], &["cs \"", "\" end"]),
    sample(ConnectionStrings, "DefaultEndpointsProtocol=https;AccountName=acc;AccountKey=YWJjZA==;EndpointSuffix=core", &["YWJjZA", "acc;"], &[]),
    sample(ConnectionStrings, "tried host=db.example.com port=5432 user=app password=pw dbname=x: failed", &["db.example", "5432", "pw dbname"], &["tried ", ": failed"]),
    sample(ConnectionStrings, "{\"e\":\"\\nmysql://u:p@h/d\\nnext\"}", &["u:p"], &["\\n", "\\nnext"]),
];

#[rustfmt::skip]
const TRACES: &[Sample] = &[
    sample(StackTraces, "before\nTraceback (most recent call last):\n  File \"/app/main.py\", line 3, in run\n    connect(\"x\")\npsycopg2.OperationalError: could not connect to \"db\"\n\tIs the server running?\n\nafter", &["/app", "connect(", "could not", "Is the server"], &["before\n", "\n\nafter"]),
    sample(StackTraces, "{\"error\":\"Traceback (most recent call last):\\n  File \\\"/app/main.py\\\", line 3, in run\\n    boom()\\nValueError: bad \\\"x\\\"\\n\",\"code\":5}", &["/app", "boom", "bad"], &["{\"error\":\"", "\",\"code\":5}"]),
    sample(StackTraces, "{\"a\":\"{\\\"e\\\":\\\"Traceback (most recent call last):\\\\n  File \\\\\\\"/app/m.py\\\\\\\", line 3\\\\nKeyError: 'k'\\\"}\"}", &["/app", "KeyError"], &["{\"a\":\"{\\\"e\\\":\\\"", "\\\"}\"}"]),
    sample(StackTraces, "Traceback (most recent call last):\n  File \"a.py\", line 1\nKeyError: 1\n\nDuring handling of the above exception, another exception occurred:\n\nTraceback (most recent call last):\n  File \"b.py\", line 2\nRuntimeError: two", &["a.py", "b.py", "two"], &[]),
    sample(StackTraces, "in File \"/srv/x.py\", line 12, in handle it failed", &["/srv", "handle"], &["in "]),
    sample(StackTraces, "java.lang.IllegalStateException: no db at 10\n\tat com.acme.Db.open(Db.java:12)\n\tat com.acme.Main.main(Main.java:5)\nCaused by: java.net.ConnectException: refused\n\t... 5 more\nok", &["java.lang", "com.acme", "refused", "5 more"], &["\nok"]),
    sample(StackTraces, "{\"t\":\"java.lang.RuntimeException: x\\n\\tat com.acme.Db.open(Db.kt:12)\\n\\tat com.acme.B.c(B.kt:1)\"}", &["com.acme", "RuntimeE"], &["{\"t\":\"", "\"}"]),
    sample(StackTraces, "Caused by: java.sql.SQLException: bad \"x\"", &["java.sql", "bad"], &[]),
    sample(StackTraces, "TypeError: x is not a function\n    at handler (/srv/app/index.js:10:5)\n    at async Promise.all (index 0)\n    at node:internal/main:1:2\nbye", &["TypeError", "/srv", "Promise", "node:"], &["\nbye"]),
    sample(StackTraces, "{\"stack\":\"Error: boom\\n    at Object.<anonymous> (/srv/a.js:1:2)\\n    at file:///srv/b.mjs:3:4\",\"x\":1}", &["boom", "/srv"], &["{\"stack\":\"", "\",\"x\":1}"]),
    sample(StackTraces, "panic: runtime error: index out of range\n\ngoroutine 1 [running]:\nmain.main()\n\t/src/main.go:5 +0x1d\n\nexit", &["panic", "main.main", "/src"], &["\n\nexit"]),
    sample(StackTraces, "{\"e\":\"goroutine 7 [chan receive]:\\nmain.f(0xc0)\\n\\t/src/f.go:5\"}", &["main.f", "/src"], &["{\"e\":\"", "\"}"]),
    sample(StackTraces, "thread 'main' panicked at src/main.rs:2:5:\nindex out of bounds\nnote: run with `RUST_BACKTRACE=1`\ndone", &["src/main.rs", "index out", "RUST_"], &["\ndone"]),
    sample(StackTraces, "stack backtrace:\n   0: std::panicking::begin\n             at /rustc/x/lib.rs:5:9\nend", &["panicking", "/rustc"], &["\nend"]),
    sample(StackTraces, "System.NullReferenceException: Object\r\n   at Acme.Db.Open(String a) in C:\\src\\new\\Db.cs:line 42\r\n   at Acme.Main()\r\nok", &["System.Null", "C:\\src", "Acme.Main"], &["\r\nok"]),
    sample(StackTraces, "{\"d\":\"   at Acme.Db.Open(String a) in C:\\\\new\\\\Db.cs:line 42\\r\\n   at Acme.Main()\"}", &["Acme", "new"], &["{\"d\":\"", "\"}"]),
    sample(StackTraces, "app/models/user.rb:12:in `save': bad (RuntimeError)\n\tfrom app/x.rb:3:in `run'\nok", &["user.rb", "bad", "x.rb"], &["\nok"]),
    sample(StackTraces, "#0 /var/www/index.php(12): App->run()\n#1 {main}\nok", &["/var/www", "App->run", "{main}"], &["\nok"]),
    sample(StackTraces, "Uncaught Error in /var/www/x.php:12", &["/var/www"], &[]),
    sample(StackTraces, "{\"detail\":\"(psycopg2.errors.UndefinedTable) relation \\\"users\\\" does not exist\\n[SQL: SELECT * FROM users]\"}", &["relation", "users"], &["{\"detail\":\"", "\"}"]),
    sample(StackTraces, "(psycopg2.OperationalError) connection to server at \"10.0.0.5\", port 5432 failed\nok", &["10.0.0.5", "5432"], &["\nok"]),
    sample(StackTraces, "{\"error\":\"sqlalchemy.exc.OperationalError: (x) lost\",\"a\":1}", &["sqlalchemy", "lost"], &["\",\"a\":1}"]),
    sample(StackTraces, "asyncpg.exceptions.UniqueViolationError: duplicate key", &["asyncpg", "duplicate"], &[]),
    sample(StackTraces, "pymongo.errors.ServerSelectionTimeoutError: db1:27017: refused", &["pymongo", "27017"], &[]),
    sample(StackTraces, "redis.exceptions.ConnectionError: Error 111 connecting to r:6379.", &["redis.ex", "6379"], &[]),
    sample(StackTraces, "SQLSTATE[HY000] [2002] Connection refused", &["HY000", "2002"], &[]),
];

#[rustfmt::skip]
const ADDRESSES: &[Sample] = &[
    sample(PrivateAddresses, "at 10.0.0.5:5432.", &["10.0.0.5", "5432"], &["at ", "."]),
    sample(PrivateAddresses, "192.168.1.20, 172.16.0.1 and 172.31.255.254", &["192.168", "172.16", "172.31"], &[", ", " and "]),
    sample(PrivateAddresses, "http://127.0.0.1:8000/x", &["127.0", "8000"], &["http://", "/x"]),
    sample(PrivateAddresses, "\"169.254.169.254\"", &["169.254"], &["\""]),
    sample(PrivateAddresses, "100.64.0.1 100.127.255.1", &["100.64", "100.127"], &[" "]),
    sample(PrivateAddresses, "[fd12:3456:789a::1]:80 fe80::1%eth0", &["fd12", "789a", "fe80", "eth0"], &["[", "]:80 "]),
    sample(PrivateAddresses, "fc00::abcd: refused", &["fc00", "abcd"], &[": refused"]),
    sample(PrivateAddresses, "db-1.prod.internal:5432 down", &["db-1", "prod", "5432"], &[" down"]),
    sample(PrivateAddresses, "https://api.default.svc.cluster.local/v1", &["api.", "svc"], &["https://", "/v1"]),
    sample(PrivateAddresses, "printer.lan, nas.local and FILES.CORP.", &["printer", "nas.", "FILES"], &[", ", "."]),
    sample(PrivateAddresses, "http://localhost:8000/", &["localhost", "8000"], &["http://"]),
    sample(PrivateAddresses, "{\"m\":\"x\\nredis.internal\\n10.1.2.3\"}", &["redis", "10.1"], &["x\\n", "\\n", "\"}"]),
];
