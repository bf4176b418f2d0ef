//! Certificate authorities and the leaves they sign, all with P-256 keys, shaped as BOSH makes them:
//! country, organisation and common name, the common name again as DNS name, both key usages.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use time::{Duration, OffsetDateTime};

/// What to make.
#[derive(clap::Subcommand)]
pub enum Command {
    /// A self-signed authority: NAME.crt and NAME.key in the folder.
    Authority {
        /// Its common name.
        #[arg(long, value_name = "NAME")]
        cn: String,
        #[command(flatten)]
        output: Output,
    },
    /// A certificate for client and server use, signed by an authority made here.
    Leaf {
        /// The authority's file name without its ending.
        #[arg(long, value_name = "NAME")]
        authority: String,
        /// Common name, and first DNS name.
        #[arg(long, value_name = "NAME")]
        cn: String,
        /// A further DNS name or IP address.
        #[arg(long, value_name = "NAME")]
        san: Vec<String>,
        #[command(flatten)]
        output: Output,
    },
}

/// Where the files go.
#[derive(clap::Args)]
pub struct Output {
    /// Folder of the files.
    #[arg(long, value_name = "FOLDER")]
    folder: PathBuf,
    /// File name without its ending.
    #[arg(long, value_name = "NAME")]
    name: String,
    /// Days it is valid from now.
    #[arg(long, value_name = "DAYS", default_value_t = 365)]
    days: u16,
}

/// Makes one certificate and its key.
pub fn run(command: &Command) -> Result<(), Box<dyn Error>> {
    match command {
        Command::Authority { cn, output } => {
            let mut params = params(cn, Vec::new(), output.days)?;
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
            let key = KeyPair::generate()?;
            write(output, &params.self_signed(&key)?, &key)
        }
        Command::Leaf { authority, cn, san, output } => {
            let read = |ending: &str| read(&output.folder.join(format!("{authority}.{ending}")));
            let issuer = Issuer::from_ca_cert_pem(&read("crt")?, KeyPair::from_pem(&read("key")?)?)?;
            let mut names = vec![cn.clone()];
            names.extend(san.iter().cloned());
            let mut params = params(cn, names, output.days)?;
            params.is_ca = IsCa::ExplicitNoCa;
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            params.extended_key_usages =
                vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
            params.use_authority_key_identifier_extension = true;
            let key = KeyPair::generate()?;
            write(output, &params.signed_by(&key, &issuer)?, &key)
        }
    }
}

fn params(cn: &str, names: Vec<String>, days: u16) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CountryName, "US");
    params.distinguished_name.push(DnType::OrganizationName, "Cloud Foundry");
    params.distinguished_name.push(DnType::CommonName, cn);
    // Clocks of two machines may differ a little.
    params.not_before = OffsetDateTime::now_utc() - Duration::HOUR;
    params.not_after = OffsetDateTime::now_utc() + Duration::days(i64::from(days));
    Ok(params)
}

fn write(output: &Output, certificate: &Certificate, key: &KeyPair) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(&output.folder)?;
    let path = |ending: &str| output.folder.join(format!("{}.{ending}", output.name));
    fs::write(path("crt"), certificate.pem())?;
    fs::write(path("key"), key.serialize_pem())?;
    Ok(())
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}
