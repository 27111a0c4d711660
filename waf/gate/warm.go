package gate

import (
	"math/rand/v2"
	"strings"

	"gatehouse/waf/rx"
)

// warm shows a union what ordinary requests are made of, and keeps the states that it then has. The first
// visitors would otherwise wait while they are made, and everybody after a visitor who made it forget them.
func warm(u *rx.Pattern) {
	for _, text := range strings.Split(ordinary, "\n") {
		u.Match(text, nil)
		u.Match(strings.ToLower(text), nil)
		// A match ends the look, so that what stands behind it is shown by itself.
		for word := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == ' ' || r == '&' || r == ';' || r == ',' }) {
			u.Match(word, nil)
		}
	}
	u.Keep()
}

// noisy is warm for the unions of many expressions, to which what looks like noise is the most expensive: tokens, keys,
// and files in Base64, and what they are when they have been decoded.
func noisy(u *rx.Pattern) {
	random := rand.New(rand.NewPCG(1, 1)) //nolint:gosec // the same for everybody
	syllable := strings.Fields(syllables)
	for _, kind := range []struct {
		size int
		next func() string
	}{
		{32 << 10, pick(random, letters+digits+"+/")},
		{16 << 10, pick(random, strings.ToLower(letters)+digits+" /")},
		{8 << 10, pick(random, letters+digits+"-_")},
		{4 << 10, pick(random, digits+"abcdef")},
		{2 << 10, pick(random, digits+"ABCDEF")},
		{8 << 10, func() string { return strings.ToLower(string([]byte{byte(random.Uint32())})) }},
		{12 << 10, func() string {
			if random.IntN(4) == 0 {
				return " "
			}
			return syllable[random.IntN(len(syllable))]
		}},
	} {
		for made := 0; made < kind.size; {
			var b strings.Builder
			for b.Len() < noise { // a match ends the look, so in pieces
				b.WriteString(kind.next())
			}
			made += b.Len()
			u.Match(b.String(), nil)
		}
	}
	u.Keep()
}

// pick takes one character of an alphabet at a time.
func pick(random *rand.Rand, alphabet string) func() string {
	return func() string {
		i := random.IntN(len(alphabet))
		return alphabet[i : i+1]
	}
}

const (
	letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	digits  = "0123456789"
	noise   = 512
	// syllables make words of no language.
	syllables = "ka lo mi ren tus vor el an dri sch ou qui zet pha gnu bra cle fo ing ist ment able tion pre con de un re"
)

// ordinary is what browsers and programs send, a value a line.
const ordinary = `Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/139.0.0.0 Safari/537.36 Edg/139.0.0.0
Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Safari/605.1.15
Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0
Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1
Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/139.0.0.0 Mobile Safari/537.36
okhttp/4.12.0
axios/1.7.2
text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7
application/json, text/plain, */*
en-US,en;q=0.9,de-DE;q=0.8,de;q=0.7,fr-FR;q=0.6
gzip, deflate, br, zstd
"Not)A;Brand";v="8", "Chromium";v="139", "Google Chrome";v="139"
https://www.example.com/shop/category/garden-tools?page=2&sort=price_asc&view=grid
https://app.example.com/accounts/1027/orders/2026-11-28/summary.html
/assets/js/main.3f9a1c7e.chunk.js
/api/v2/customers/550e8400-e29b-41d4-a716-446655440000/addresses
/images/products/summer_2026/blue-chair-large@2x.webp
GA1.2.1947561320.1764300000
eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCIsImtpZCI6ImFiYzEyMyJ9
eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvaG4gRG9lIiwiaWF0IjoxNTE2MjM5MDIyLCJhdWQiOlsiYSIsImIiXX0
SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c-Zm9vYmFyLXF1eA
iVBORw0KGgoAAAANSUhEUgAAAAUAAAAFCAYAAACNbyblAAAAHElEQVQI12P4//8/w38GIAXDIBKE0DHxgljNBAAO9TXL0Y4OHwAAAABJRU5ErkJggg==
9b74c9897bac770ffc029102a200c5de1f3870be274f6c49b3e31a0c6728957f
550e8400-e29b-41d4-a716-446655440000
2026-11-28T13:37:00.123Z
2026-11-28 13:37
28.11.2026
+49 30 1234567-89
(555) 123-4567
john.o.smith@mail.example.co.uk
max_mustermann+newsletter@example.org
O'Brien
Jean-Luc Müller-Lüdenscheid
Ærøskøbing, Straße 12
北京市朝阳区
Здравствуйте, как дела?
こんにちは
12 Main Street, Apt. 4B, Springfield, IL 62704
DE89 3704 0044 0532 0130 00
1,299.95
-0.25e-3
0xdeadbeef
#ff8800
1024x768
true
false
null
undefined
en_US.UTF-8
3.14.159-beta.2+build.77
W/"65f0-61a2b3c4d5e6f"
max-age=0, no-cache
bytes=0-1023
multipart/form-data; boundary=----WebKitFormBoundary7MA4YWxkTrZu0gW
application/x-www-form-urlencoded; charset=utf-8
__Host-session=abc123; theme=dark; lang=en-GB; consent=%7B%22ads%22%3Afalse%7D; _ga_ABC123=GS1.1.1764300000.5.1.1764300300.0.0.0
{"name":"Garden chair","price":49.9,"tags":["outdoor","wood"],"stock":null,"sizes":{"h":90,"w":45.5}}
json.items.0.name
json.data.attributes.shipping_address.street_line_1
filter[category][]
user[address][postal_code]
utm_source
csrf_token
first_name
confirmPassword
The quick brown fox jumps over the lazy dog and runs away from it, into the wood.
Hello, thanks for your message! I will be back on Monday and look at the order then. Kind regards, Alice
Please find attached the report for the third quarter; sales are up by 12% (see page 3).
Is this the right way to do it? I'd like to know more about the price, and when it can be delivered.
We are looking for a new kitchen table with four chairs: oak or beech, about 160 x 90 cm, not more than $800.
Select your country from the list, then insert your card and update the details where needed.
# Heading

* first point
* second point with [a link](https://example.com/docs) and some code: x = y + 1
> quoted text, and a table | with | cells
Sehr geehrte Damen und Herren, ich habe eine Frage zu meiner Rechnung vom 3. März; können Sie mir helfen?
Bonjour, je voudrais commander deux chaises et une table, s'il vous plaît. Merci d'avance !
Hola, ¿cuándo llega mi pedido número 10457? Gracias por la ayuda.
the be to of and a in that have it for not on with he as you do at this but his by from they we say her she or an will my
one all would there their what so up out if about who get which go me when make can like time no just him know take people
into year your good some could them see other than then now look only come its over think also back after use two how our
work first well way even new want because any these give day most us account order product customer address email phone
search query page limit offset sort filter category title description comment message status type value name date start end
login logout password username token session profile settings image file upload download report invoice payment total amount`
