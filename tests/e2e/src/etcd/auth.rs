//! Setup of users, roles and authentication of an etcd, as Steward does it for its tenants.

use anyhow::{Context, Result};

use super::{EtcdClient, rpc};

impl EtcdClient {
    /// Makes the user and the role `root`, and turns authentication on: from then on the CN of a
    /// client's certificate is its user.
    ///
    /// # Errors
    /// etcd refused.
    pub async fn enable_auth(&self) -> Result<()> {
        self.add_role("root").await?;
        self.add_user("root", "root", None).await?;
        let reply = self.auth().auth_enable(rpc::AuthEnableRequest {}).await;
        reply.context("turning on etcd's authentication")?;
        Ok(())
    }

    /// Makes a role that may read and write below `prefix`, which ends in a slash, and a user
    /// without a password who has it.
    ///
    /// # Errors
    /// etcd refused.
    pub async fn add_tenant(&self, role: &str, user: &str, prefix: &str) -> Result<()> {
        self.add_role(role).await?;
        let end = prefix
            .strip_suffix('/')
            .with_context(|| format!("the prefix {prefix} does not end in a slash"))?;
        let request = rpc::AuthRoleGrantPermissionRequest {
            name: role.to_owned(),
            perm: Some(rpc::Permission {
                perm_type: rpc::permission::Type::Readwrite.into(),
                key: prefix.into(),
                // The character after the slash.
                range_end: format!("{end}0").into(),
            }),
        };
        let reply = self.auth().role_grant_permission(request).await;
        reply.with_context(|| format!("giving {prefix} to the role {role}"))?;
        self.add_user(user, role, None).await
    }

    /// Makes a user with a password who may do everything.
    ///
    /// # Errors
    /// etcd refused.
    pub async fn add_administrator(&self, user: &str, password: &str) -> Result<()> {
        self.add_user(user, "root", Some(password)).await
    }

    async fn add_role(&self, name: &str) -> Result<()> {
        let request = rpc::AuthRoleAddRequest {
            name: name.to_owned(),
        };
        let reply = self.auth().role_add(request).await;
        reply.with_context(|| format!("making the role {name}"))?;
        Ok(())
    }

    async fn add_user(&self, name: &str, role: &str, password: Option<&str>) -> Result<()> {
        let request = rpc::AuthUserAddRequest {
            name: name.to_owned(),
            password: password.unwrap_or_default().to_owned(),
            options: Some(rpc::UserAddOptions {
                no_password: password.is_none(),
            }),
        };
        let reply = self.auth().user_add(request).await;
        reply.with_context(|| format!("making the user {name}"))?;
        let request = rpc::AuthUserGrantRoleRequest {
            user: name.to_owned(),
            role: role.to_owned(),
        };
        let reply = self.auth().user_grant_role(request).await;
        reply.with_context(|| format!("giving the role {role} to {name}"))?;
        Ok(())
    }
}
