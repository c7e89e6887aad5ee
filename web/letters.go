package web

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"net/url"
	"strings"

	lang "golang.org/x/text/language"

	"github.com/latchkey-id/latchkey/broker"
)

// This file is what mails say, by the same texts as pages.

//go:embed letters/letter.html
var letterFile embed.FS

// Letters puts letters into words. It implements broker.LetterWriter.
type Letters struct {
	tongues *tongues
	html    *template.Template
	host    string
}

// NewLetters reads texts and template; publicURL is what mails lead to.
func NewLetters(publicURL string) (*Letters, error) {
	public, err := url.Parse(publicURL)
	if err != nil {
		return nil, err
	}
	l := &Letters{host: public.Host}
	if l.tongues, err = loadTongues(); err != nil {
		return nil, err
	}
	l.html, err = template.ParseFS(letterFile, "letters/letter.html")
	return l, err
}

// words are the texts of a kind of letter. The subject has no place: what people
// have chosen themselves, such as names, stands in none.
type words struct {
	subject       *text
	before, after []*text // the link
	button        *text
}

// WriteLetter implements broker.LetterWriter.
func (l *Letters) WriteLetter(of broker.Letter) (broker.MailText, error) {
	wording := wordsOf[of.Kind]
	if wording == nil {
		return broker.MailText{}, fmt.Errorf("there are no words for a mail of the kind %q", of.Kind)
	}
	w := wording(of, unlinked(of.Username), unlinked(of.What))
	t := l.tongueOf(of.Language)
	foot := say("This mail was sent by the login service at {host}. It was sent automatically: nobody reads answers. If the button does not work, open this address:", unlinked(l.host))
	out := broker.MailText{Subject: t.plain(w.subject), Text: l.plainText(t, w, foot, of.Link)}
	var html bytes.Buffer
	err := l.html.Execute(&html, map[string]any{
		"Lang": t.tag.String(), "Subject": out.Subject, "Before": said(t, w.before), "After": said(t, w.after), "Button": t.plain(w.button),
		"Foot": t.html(foot), "Link": of.Link,
	})
	out.HTML = html.String()
	return out, err
}

func said(t *tongue, list []*text) (out []template.HTML) {
	for _, one := range list {
		out = append(out, t.html(one))
	}
	return out
}

func (l *Letters) plainText(t *tongue, w words, foot *text, link string) string {
	parts := []string{}
	for _, one := range w.before {
		parts = append(parts, t.plain(one))
	}
	parts = append(parts, t.plain(w.button)+":\n"+link)
	for _, one := range w.after {
		parts = append(parts, t.plain(one))
	}
	short := say("This mail was sent by the login service at {host}. It was sent automatically: nobody reads answers.", unlinked(l.host))
	return strings.Join(append(parts, "-- \n"+t.plain(short)), "\n\n") + "\n"
}

// tongueOf is the language of a letter; English where the person's is not known.
func (l *Letters) tongueOf(language string) *tongue {
	tag, err := lang.Parse(language)
	if err != nil {
		return english
	}
	_, i, _ := l.tongues.matcher.Match(tag)
	return l.tongues.list[i]
}

// unlinked is a text from outside in which no mail program finds an address to
// lead to: a word joiner, which nobody sees, stands behind what addresses are
// made with.
func unlinked(text string) string {
	return strings.NewReplacer(".", ".\u2060", ":", ":\u2060", "/", "/\u2060", "@", "@\u2060", "?", "?\u2060", "=", "=\u2060").Replace(text)
}

// wordsOf are the words of each kind of letter, for what comes from outside in it.
var wordsOf = map[broker.MailKind]func(of broker.Letter, who, what string) words{
	broker.MailForgotten:       forgottenWords,
	broker.MailReset:           resetWords,
	broker.MailInvitation:      invitationWords,
	broker.MailIdentityLinked:  linkedWords,
	broker.MailTokenReused:     reusedWords,
	broker.MailPasswordChanged: changedWords,
	broker.MailFactorAdded:     factorWords,
}

var (
	wordsIfNotYou  = say("If this was not you, change your password at once, look through the logins and devices of your account, and tell your administrator.")
	wordsOfSecret  = say("Pass this mail on to nobody: whoever has the link can choose the password.")
	wordsOfReset   = say("It works once, until {when}. Every device of the account has to log in again then.")
	happenedAt     = say("It happened on {when}.")
	openAccount    = say("Open your account")
	choosePassword = say("Choose a new password")
)

func forgottenWords(of broker.Letter, who, _ string) words {
	return words{
		subject: choosePassword,
		before:  []*text{say("Somebody, probably you, asked for a new password for the account {name}. With this link you choose one:", who)},
		after: []*text{
			wordsOfReset.with(of.Until),
			say("If you did not ask for it, do nothing: your password stays as it is. Pass this mail on to nobody."),
		},
		button: choosePassword,
	}
}

func resetWords(of broker.Letter, who, _ string) words {
	return words{
		subject: choosePassword,
		before:  []*text{say("An administrator made a link for you, with which you choose a new password for the account {name}:", who)},
		after:   []*text{wordsOfReset.with(of.Until), wordsOfSecret},
		button:  choosePassword,
	}
}

func invitationWords(of broker.Letter, who, _ string) words {
	return words{
		subject: say("Your new account"),
		before: []*text{
			say("An administrator made an account for you. Your username is {name}.", who), say("With this link you choose a password, and can log in:"),
		},
		after:  []*text{say("It works once, until {when}. Later an administrator can make another one.", of.Until), wordsOfSecret},
		button: say("Choose a password"),
	}
}

func linkedWords(of broker.Letter, who, what string) words {
	return words{
		subject: say("A login was linked to your account"),
		before: []*text{
			say("A login at {provider} was linked to the account {name}. Whoever has that login gets in to the account.", what, who), happenedAt.with(of.At),
		},
		after:  []*text{say("If this was not you, undo it there, until {when}: then everything is as it was before. Tell your administrator, too.", of.Until)},
		button: say("Look at the linked logins"),
	}
}

func reusedWords(of broker.Letter, who, _ string) words {
	return words{
		subject: say("A login of your account was ended"),
		before: []*text{
			say("Two devices used the same login of the account {name}. That happens when a device was copied or restored from a backup, and also when somebody has stolen the login. To be safe, it was ended.", who),
			happenedAt.with(of.At),
		},
		after:  []*text{wordsIfNotYou},
		button: say("Look at what has ended"),
	}
}

func changedWords(of broker.Letter, who, _ string) words {
	return words{
		subject: say("Your password was changed"),
		before:  []*text{say("The password of the account {name} was changed, and every device has to log in again.", who), happenedAt.with(of.At)},
		after:   []*text{wordsIfNotYou},
		button:  openAccount,
	}
}

func factorWords(of broker.Letter, who, what string) words {
	added := say("A second factor for logging in was added to the account {name}.", who)
	if what != "" {
		added = say("A second factor for logging in, called “{factor}”, was added to the account {name}.", what, who)
	}
	return words{
		subject: say("A second factor was added to your account"), before: []*text{added, happenedAt.with(of.At)}, after: []*text{wordsIfNotYou}, button: openAccount,
	}
}
