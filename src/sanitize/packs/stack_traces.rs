//! The pack `stack_traces`: what a crash tells about code, paths and databases.
//!
//! A trace comes as plain lines or inside a JSON string, where the newline is
//! `\n` and the quote `\"`. Patterns with `<eol>` or `<dq>` are compiled once
//! for each spelling (see [`super::expand`]), so that a match in JSON never runs
//! over the closing quote.
//!
//! # Limits
//! What follows the last recognised line of a trace is not part of it.

use super::judge::whole;
use super::{Secret, bytes};

/// The state and the frames of a goroutine, to the first empty line.
macro_rules! goroutine {
    () => {
        r"[0-9]+ \[[^\]\r\n\x22\\]+\]:(?:<eol><char>+)*"
    };
}

/// The evidence of a JavaScript, Java or .NET frame: a file and a line.
macro_rules! frame {
    () => {
        concat!(
            r"(?:[\w.$/<>@-]+\((?:[\w$.-]+:[0-9]+|Native Method|Unknown Source|<generated>)\)",
            r"|(?:async |new )*[\w.$<>\[\]#/-]+(?: \[as [\w.$]+\])? \((?:<path>*[/:\\]<path>*:[0-9]+:[0-9]+|<anonymous>|native)\)",
            r"|(?:async )?(?:file:|node:|\\?/|[A-Za-z]:[/\\])<path>*:[0-9]+:[0-9]+",
            r"|[\w.<>`+$,\[\]]+\([^()\r\n\x22\\]*\) in <inquote>*:line [0-9]+)",
            // Only the first frame needs evidence.
            r"(?:<eol><blank>*(?:at |\.\.\. [0-9]+ (?:more|common)|Caused by: |Suppressed: |--- End )<char>*)*",
        )
    };
}

#[rustfmt::skip]
pub(super) const SECRETS: &[Secret] = &[
    Secret::inside(&["Traceback (most recent call last):"], PYTHON, whole),
    Secret::new(&["File "], PYTHON_FRAME, whole),
    Secret::new(&["Caused by: "], r"[\w.$]+(?:Exception|Error)<line>", whole),
    Secret::new(&["panic: "], concat!(r"<char>*<eol>(?:\[signal <char>*<eol>)?(?:<eol>)?goroutine ", goroutine!()), whole),
    Secret::new(&["goroutine "], goroutine!(), whole),
    Secret::new(&["thread '"], RUST, whole),
    Secret::new(&["stack backtrace:"], r"(?:<eol>(?:note: |<blank>+)<char>*)+", whole),
    Secret::inside(&[".rb:"], RUBY, whole).reaching(&PATH),
    Secret::inside(&["#0 ", "#1 ", "#2 ", "#3 ", "#4 ", "#5 ", "#6 ", "#7 ", "#8 ", "#9 "], PHP, whole),
    Secret::new(&["in /", "in \\/"], r"[^\s\x22:()]*\.php(?: on line |:)[0-9]+", whole),
    Secret::inside(&["[SQL: ", "[parameters: "], r"(?:[^\]\x22\\]|\\[^\r\n]|\x22[^\r\n\x22\\,}\]:\s])*\]?", whole),
    Secret::inside(DRIVERS, r"[\w.]+\)<line>", whole),
    Secret::new(DRIVER_MODULES, r"(?:[\w.]*\.)?[A-Z]\w*: <line>", whole),
    Secret::new(DRIVER_TEXTS, "<line>", whole),
    Secret::new(&["Sequelize", "PrismaClient", "MongoServer", "MongoNetwork", "QueryFailed"], r"\w*Error: <line>", whole),
    Secret::new(&["connection to server at "], r"(?:\\?\x22|[0-9])<line>", whole),
    Secret::new(&["ORA-"], r"[0-9]{5}: <line>", whole),
    Secret::inside(ERRORS, ERROR_FRAMES, whole).reaching(&CLASS).spelt(0),
    Secret::inside(ERRORS, ERROR_FRAMES, whole).reaching(&CLASS).spelt(1),
    Secret::inside(ERRORS, ERROR_FRAMES, whole).reaching(&CLASS).spelt(2),
    Secret::new(&["at "], frame!(), whole),
];

static CLASS: [bool; 256] = bytes(b"_.$");
static PATH: [bool; 256] = bytes(b"_./-");

const ERRORS: &[&str] = &["Error", "Exception"];

/// One spelling at a time: together they would be as large as their product.
const ERROR_FRAMES: &str = concat!(r"(?:[^\w\r\n\x22\\]<char>*)?<eol><blank>*at ", frame!());

/// The lines of a Python traceback, through its final error and the details of a database below it.
const PYTHON: &str = concat!(
    r"(?:<eol><blank>+<char>*)*",
    r"(?:<eol>(?:[A-Za-z_][\w.]*:<char>*|[A-Za-z_][\w.]*(?:Error|Exception|Interrupt|Exit|Iteration|Timeout)\b|\w+(?:\.\w+)+)",
    r"(?:<eol>(?:<blank>+|DETAIL:|HINT:|CONTEXT:|QUERY:|LINE [0-9]+:|\[SQL: |\[parameters: |\(Background )<char>*)*)?",
);

const PYTHON_FRAME: &str =
    r"<dq><inquote>+<dq>, line [0-9]+(?:, in [\w<>.]+)?(?:<eol><blank>+<char>*)*";

const RUST: &str = concat!(
    r"[^'\r\n\x22\\]*'(?: \([0-9]+\))? panicked at (?:<line>:<eol><char>+|<line>)",
    r"(?:<eol>(?:note: |stack backtrace:|<blank>+)<char>*)*",
);

const RUBY: &str = concat!(
    r"[0-9]+:in [`'][^'\r\n\x22\\]*'<line>",
    r"(?:<eol><blank>*(?:[0-9]+: )?(?:from )?[\w./-]+\.rb:[0-9]+:in <char>*)*",
);

const PHP: &str =
    r"(?:\\?/[^\s\x22:()]*|\[internal function\])(?:\([0-9]+\))?: <line>(?:<eol>#[0-9]+ <char>*)*";

/// `(psycopg2.errors.UndefinedTable) …`, as SQLAlchemy writes it.
#[rustfmt::skip]
const DRIVERS: &[&str] = &[
    "(psycopg2.", "(psycopg.", "(asyncpg.", "(pymysql.", "(MySQLdb.", "(sqlite3.", "(cx_Oracle.", "(oracledb.", "(pyodbc.",
    "(mysql.connector.", "(aiomysql.", "(aiosqlite.", "(sqlalchemy.",
];

#[rustfmt::skip]
const DRIVER_MODULES: &[&str] = &[
    "sqlalchemy.", "asyncpg.", "psycopg2.", "psycopg.", "pymongo.errors.", "redis.exceptions.", "pymysql.err.", "mysql.connector.errors.",
    "django.db.utils.", "sqlite3.", "botocore.exceptions.", "kafka.errors.", "elasticsearch.exceptions.", "org.postgresql.util.",
    "java.sql.", "com.mysql.cj.jdbc.exceptions.",
];

#[rustfmt::skip]
const DRIVER_TEXTS: &[&str] = &[
    "SQLSTATE[", "connect ECONNREFUSED ", "(Background on this error at: ",  "FATAL: password", "FATAL:  password",
    "FATAL:  role", "FATAL:  database", "FATAL:  no pg_hba",
];
