package oauth2

import (
	"context"

	"github.com/latchkey-id/latchkey/providers/internal/idp"
)

// scopeDiscordGuilds is the scope of a person's servers.
const scopeDiscordGuilds = "guilds"

// Discord is discord.com, where cfg.Issuer is. The subject is the account's id. Groups are the ids of
// the person's servers (guilds), not their names: anybody can make one of any
// name. Claims and Endpoints of cfg are not used.
func Discord(cfg Config) *Provider {
	api := cfg.Issuer + "/api/v10"
	cfg.Endpoints = Endpoints{
		Authorization: cfg.Issuer + "/oauth2/authorize", Token: api + "/oauth2/token", Userinfo: api + "/users/@me",
	}
	cfg.Claims = ClaimNames{Subject: "id", Username: "username", Name: "global_name", EmailVerified: "verified"}
	cfg.Scopes, cfg.Groups = withScopes(cfg, scopeDiscordGuilds, "identify", "email")
	return newProvider(cfg, dialect{
		header:  map[string]string{"User-Agent": "DiscordBot (https://github.com/latchkey-id/latchkey, 1)"},
		subject: snowflake,
		groups:  func(ctx context.Context, c caller) ([]string, error) { return discordGuilds(ctx, c, api) },
	})
}

// snowflake is an id of Discord: a whole number, written as a text.
func snowflake(claim any) string { return digits(idp.Text(claim)) }

// discordGuilds needs one page: nobody is in more than 200.
func discordGuilds(ctx context.Context, c caller, api string) (groups []string, err error) {
	var list []any
	if _, err := c.get(ctx, api+"/users/@me/guilds?limit=200", &list); err != nil {
		return nil, err
	}
	for _, item := range list {
		guild, _ := item.(map[string]any)
		if id := snowflake(guild["id"]); id != "" {
			groups = append(groups, id)
		}
	}
	return groups, nil
}
